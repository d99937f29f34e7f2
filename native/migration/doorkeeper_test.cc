#include "migration/doorkeeper.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <condition_variable>
#include <future>

#include "migration/dial.h"

namespace tsvmm {
namespace {

using namespace std::chrono_literals;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

class DoorkeeperTest : public ::testing::Test {
 protected:
  DoorkeeperTest() : path_("/tmp/tsvmm-door-" + std::to_string(getpid())) { unlink(path_.c_str()); }
  ~DoorkeeperTest() override { unlink(path_.c_str()); }

  void start(size_t greeting_bytes, std::chrono::milliseconds patience = 60s, size_t most_waiting = 256) {
    auto listener = address().listen();
    ASSERT_TRUE(listener) << listener.failure().operation;
    keeper_ = Doorkeeper::start({.greeting_bytes = greeting_bytes,
                                 .patience = patience,
                                 .most_waiting = most_waiting,
                                 .on_connection =
                                     [this](UniqueFd socket, std::vector<std::byte> greeting) {
                                       std::lock_guard lock(mutex_);
                                       sockets_.push_back(std::move(socket));
                                       greetings_.emplace_back(reinterpret_cast<const char*>(greeting.data()),
                                                               greeting.size());
                                       changed_.notify_all();
                                     }},
                                std::move(listener).value())
                  .value();
  }
  SocketAddress address() const { return SocketAddress::path(path_).value(); }
  UniqueFd dialled() const {
    std::promise<Result<UniqueFd>> end;
    const auto dial = Dial::start(address(), 60s, [&](Result<UniqueFd> result) { end.set_value(std::move(result)); });
    auto result = end.get_future().get();
    EXPECT_TRUE(result);
    return std::move(result).value();
  }
  static void send_text(const UniqueFd& socket, std::string_view text) {
    const auto bytes = bytes_of(text);
    EXPECT_EQ(send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }
  static bool is_ended(const UniqueFd& socket) {
    char byte;
    pollfd ready{socket.get(), POLLIN, 0};
    return poll(&ready, 1, 60'000) == 1 && recv(socket.get(), &byte, 1, 0) <= 0;
  }
  std::vector<std::string> greetings(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, 60s, [&] { return greetings_.size() >= count; });
    return greetings_;
  }

  const std::string path_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<UniqueFd> sockets_;
  std::vector<std::string> greetings_;
  std::unique_ptr<Doorkeeper> keeper_;
};

TEST_F(DoorkeeperTest, WhoGreetsIsLetInWithTheRestUnread) {
  start(4);
  const auto slow = dialled();
  send_text(slow, "on");
  const auto quick = dialled();
  send_text(quick, "two!rest");
  EXPECT_EQ(greetings(1), std::vector<std::string>{"two!"});
  send_text(slow, "e!");
  EXPECT_EQ(greetings(2), (std::vector<std::string>{"two!", "one!"}));
  char rest[4];
  EXPECT_EQ(recv(sockets_[0].get(), rest, sizeof rest, 0), 4);
  EXPECT_EQ(std::string_view(rest, 4), "rest");
}

TEST_F(DoorkeeperTest, WhoDoesNotGreetIsSentAway) {
  start(4, 30ms);
  const auto silent = dialled();
  send_text(silent, "one");
  EXPECT_TRUE(is_ended(silent));
  EXPECT_TRUE(greetings_.empty());
}

TEST_F(DoorkeeperTest, NoMoreWaitThanThereIsRoomFor) {
  start(4, 60s, 2);
  const auto one = dialled();
  const auto two = dialled();
  send_text(one, "o");
  send_text(two, "t");
  const auto three = dialled();
  EXPECT_TRUE(is_ended(three));
  send_text(two, "wo!");
  EXPECT_EQ(greetings(1), std::vector<std::string>{"two!"});
}

TEST_F(DoorkeeperTest, OthersCanBeBroughtIn) {
  start(0);
  const auto one = dialled();
  EXPECT_EQ(greetings(1).size(), 1u);
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  keeper_->admit(UniqueFd(ends[0]));
  EXPECT_EQ(greetings(2).size(), 2u);
  close(ends[1]);
}

TEST_F(DoorkeeperTest, ASocketThatNobodyListensAtIsTakenOver) {
  ASSERT_TRUE(address().listen());
  struct stat status {};
  ASSERT_EQ(stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  start(0);
  EXPECT_EQ(address().listen().failure().error, EADDRINUSE);
  dialled();
  EXPECT_EQ(greetings(2).size(), 2u);
}

TEST_F(DoorkeeperTest, WhatIsNoSocketStays) {
  ASSERT_EQ(close(creat(path_.c_str(), 0600)), 0);
  EXPECT_EQ(address().listen().failure().error, EADDRINUSE);
  EXPECT_EQ(access(path_.c_str(), F_OK), 0);
}

TEST(DialTest, AnAddressOfTheNetworkIsInFigures) {
  EXPECT_TRUE(SocketAddress::network("127.0.0.1", 1));
  EXPECT_TRUE(SocketAddress::network("::1", 65535));
  EXPECT_EQ(SocketAddress::network("localhost", 1).failure().error, EINVAL);
  EXPECT_EQ(SocketAddress::path(std::string(200, 'x')).failure().error, ENAMETOOLONG);
}

TEST(DialTest, NobodyThereIsSaid) {
  const auto listener = SocketAddress::network("127.0.0.1", 0).value().listen().value();
  const auto port = SocketAddress::port_of(listener.get()).value();
  const auto dial = [](uint16_t to) {
    std::promise<int> end;
    const auto dialled =
        Dial::start(SocketAddress::network("127.0.0.1", to).value(), 60s,
                    [&](const Result<UniqueFd>& result) { end.set_value(result ? 0 : result.failure().error); });
    return end.get_future().get();
  };
  EXPECT_EQ(dial(port), 0);
  // Bound, so that nobody else gets it, and nobody listens.
  const UniqueFd bound(socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  ASSERT_EQ(bind(bound.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(dial(SocketAddress::port_of(bound.get()).value()), ECONNREFUSED);
}

TEST(DialTest, ACallIsGivenUp) {
  // TEST-NET-1 (RFC 5737): where anything is there at all, it does not answer.
  std::promise<int> end;
  const auto dial =
      Dial::start(SocketAddress::network("192.0.2.1", 9).value(), 60s,
                  [&](const Result<UniqueFd>& result) { end.set_value(result ? 0 : result.failure().error); });
  dial.value()->cancel();
  const auto error = end.get_future().get();
  EXPECT_TRUE(error == ECANCELED || error == ENETUNREACH || error == EHOSTUNREACH) << error;
}

}  // namespace
}  // namespace tsvmm
