#include "io/descriptor_stream.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "io/descriptor_listener.h"

namespace tsvmm {
namespace {

std::pair<UniqueFd, UniqueFd> a_pair() {
  int sockets[2] = {-1, -1};
  socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets);
  return {UniqueFd(sockets[0]), UniqueFd(sockets[1])};
}

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

std::string text_of(const DescriptorStream::Chunk& chunk) {
  return {reinterpret_cast<const char*>(chunk.bytes.data()), chunk.bytes.size()};
}

bool are_same(int one, int other) {
  struct stat first, second;
  return fstat(one, &first) == 0 && fstat(other, &second) == 0 && first.st_ino == second.st_ino &&
         first.st_dev == second.st_dev;
}

// A stream, and whoever is at its other end.
class DescriptorStreamTest : public testing::Test {
 protected:
  DescriptorStreamTest() {
    auto [ours, theirs] = a_pair();
    peer_ = std::move(theirs);
    auto started = DescriptorStream::start(std::move(ours), "stream", [this] { changes_.fetch_add(1); });
    EXPECT_TRUE(started.ok());
    stream_ = std::move(started).value();
  }

  // Polls what the owner's thread would be told of.
  template <typename Take>
  static auto until(Take&& take) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    for (;;) {
      if (auto taken = take()) return taken;
      if (std::chrono::steady_clock::now() > deadline) return take();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  DescriptorStream::Chunk next_chunk() {
    stream_->read();
    auto chunk = until([this] { return stream_->take_chunk(); });
    EXPECT_TRUE(chunk.has_value());
    return chunk ? std::move(*chunk) : DescriptorStream::Chunk{};
  }

  // Sends as clients do: with raw calls.
  void send_with(const std::string& text, std::vector<int> descriptors) {
    iovec piece{const_cast<char*>(text.data()), text.size()};
    std::vector<char> control(CMSG_SPACE(descriptors.size() * sizeof(int)));
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    auto* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
    std::copy(descriptors.begin(), descriptors.end(), reinterpret_cast<int*>(CMSG_DATA(header)));
    ASSERT_EQ(sendmsg(peer_.get(), &message, 0), static_cast<ssize_t>(text.size()));
  }

  std::string read_peer(size_t bytes) {
    std::string text(bytes, '\0');
    size_t done = 0;
    while (done < bytes) {
      const auto count = ::read(peer_.get(), text.data() + done, bytes - done);
      if (count <= 0) break;
      done += static_cast<size_t>(count);
    }
    text.resize(done);
    return text;
  }

  UniqueFd peer_;
  std::atomic<int> changes_ = 0;
  std::unique_ptr<DescriptorStream> stream_;
};

TEST_F(DescriptorStreamTest, ReadsAChunkEachTimeItIsAsked) {
  ASSERT_EQ(::write(peer_.get(), "one", 3), 3);
  EXPECT_EQ(text_of(next_chunk()), "one");
  ASSERT_EQ(::write(peer_.get(), "two", 3), 3);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_FALSE(stream_->take_chunk().has_value());
  EXPECT_EQ(text_of(next_chunk()), "two");
  EXPECT_EQ(changes_.load(), 2);
}

TEST_F(DescriptorStreamTest, DescriptorsComeWithTheirBytesInOrder) {
  const UniqueFd first(open("/dev/null", O_RDONLY | O_CLOEXEC));
  const UniqueFd second(open("/dev/zero", O_RDONLY | O_CLOEXEC));
  send_with("a", {first.get(), second.get()});
  send_with("b", {second.get()});
  const auto chunk = next_chunk();
  EXPECT_EQ(text_of(chunk), "a");
  ASSERT_EQ(chunk.descriptors.size(), 2u);
  EXPECT_TRUE(are_same(chunk.descriptors[0].get(), first.get()));
  EXPECT_TRUE(are_same(chunk.descriptors[1].get(), second.get()));
  EXPECT_NE(fcntl(chunk.descriptors[0].get(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_FALSE(chunk.is_short);
  const auto next = next_chunk();
  EXPECT_EQ(text_of(next), "b");
  EXPECT_EQ(next.descriptors.size(), 1u);
}

TEST_F(DescriptorStreamTest, AsManyDescriptorsAsOneMessageHolds) {
  const UniqueFd one(open("/dev/null", O_RDONLY | O_CLOEXEC));
  send_with("many", std::vector<int>(DescriptorStream::kMostDescriptors, one.get()));
  EXPECT_EQ(next_chunk().descriptors.size(), DescriptorStream::kMostDescriptors);
}

TEST_F(DescriptorStreamTest, DescriptorsThatThereIsNoRoomForAreMissed) {
  const UniqueFd one(open("/dev/null", O_RDONLY | O_CLOEXEC));
  send_with("some", {one.get(), one.get(), one.get()});
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  // The next descriptor would be the lowest free number.
  const int lowest = dup(one.get());
  close(lowest);
  const rlimit tight{static_cast<rlim_t>(lowest) + 1, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &tight), 0);
  const auto chunk = next_chunk();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(text_of(chunk), "some");
  EXPECT_TRUE(chunk.is_short);
  EXPECT_LT(chunk.descriptors.size(), 3u);
}

TEST_F(DescriptorStreamTest, TheEndOfThePeerIsAChunkOfNothing) {
  ASSERT_EQ(::write(peer_.get(), "last", 4), 4);
  shutdown(peer_.get(), SHUT_WR);
  EXPECT_EQ(text_of(next_chunk()), "last");
  EXPECT_TRUE(next_chunk().bytes.empty());
  EXPECT_TRUE(stream_->write(bytes_of("still here")));
  EXPECT_EQ(read_peer(10), "still here");
}

TEST_F(DescriptorStreamTest, WhatTheSocketTakesIsWrittenAtOnce) {
  EXPECT_TRUE(stream_->write(bytes_of("whole")));
  EXPECT_EQ(read_peer(5), "whole");
  EXPECT_FALSE(stream_->take_written());
  stream_->end();
  EXPECT_EQ(read_peer(1), "");
}

TEST_F(DescriptorStreamTest, WhatItDoesNotTakeIsWrittenWhenThePeerReads) {
  const std::string much(4 << 20, 'x');
  EXPECT_FALSE(stream_->write(bytes_of(much)));
  EXPECT_FALSE(stream_->take_written());
  EXPECT_EQ(read_peer(much.size()), much);
  EXPECT_TRUE(until([this] { return stream_->take_written(); }));
  EXPECT_FALSE(stream_->take_written());
  EXPECT_TRUE(stream_->write(bytes_of("more")));
}

TEST_F(DescriptorStreamTest, SendsDescriptorsWithTheFirstByte) {
  const UniqueFd one(open("/dev/null", O_RDONLY | O_CLOEXEC));
  auto [ours, theirs] = a_pair();
  const auto started = DescriptorStream::start(std::move(theirs), "peer", [] {});
  ASSERT_TRUE(started.ok());
  auto sender = DescriptorStream::start(std::move(ours), "stream", [] {});
  ASSERT_TRUE(sender.ok());
  const int descriptors[] = {one.get(), one.get()};
  EXPECT_TRUE(sender.value()->write(bytes_of("take"), descriptors));
  started.value()->read();
  const auto chunk = until([&] { return started.value()->take_chunk(); });
  ASSERT_TRUE(chunk.has_value());
  EXPECT_EQ(text_of(*chunk), "take");
  ASSERT_EQ(chunk->descriptors.size(), 2u);
  EXPECT_TRUE(are_same(chunk->descriptors[1].get(), one.get()));
}

TEST_F(DescriptorStreamTest, APeerThatIsGoneFailsWritesAndNothingElse) {
  peer_.reset();
  EXPECT_FALSE(stream_->write(bytes_of("anybody?")));
  const auto failure = until([this] { return stream_->take_failure(); });
  ASSERT_TRUE(failure.has_value());
  EXPECT_EQ(failure->error, EPIPE);
  EXPECT_FALSE(stream_->take_failure().has_value());
}

TEST_F(DescriptorStreamTest, ItEndsWhileThereIsMuchToWriteAndNobodyReads) {
  EXPECT_FALSE(stream_->write(bytes_of(std::string(4 << 20, 'x'))));
  stream_.reset();
  EXPECT_GT(read_peer(1 << 20).size(), 0u);
}

class DescriptorListenerTest : public testing::Test {
 protected:
  DescriptorListenerTest() : path_("/tmp/tsvmm-listener-" + std::to_string(getpid())) { unlink(path_.c_str()); }
  ~DescriptorListenerTest() override { unlink(path_.c_str()); }

  const std::string path_;
};

TEST_F(DescriptorListenerTest, AcceptsWhoComes) {
  auto socket = listen_at(path_);
  ASSERT_TRUE(socket.ok());
  EXPECT_FALSE(listen_at(path_).ok());
  std::atomic<int> accepted = 0;
  const auto listener = DescriptorListener::start(std::move(socket).value(), "listener", [&](UniqueFd connection) {
    if ((fcntl(connection.get(), F_GETFL) & O_NONBLOCK) != 0) accepted.fetch_add(1);
  });
  ASSERT_TRUE(listener.ok());
  for (int count = 1; count <= 3; ++count) {
    const auto client = connect_to(path_);
    ASSERT_TRUE(client.ok());
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (accepted.load() < count && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    EXPECT_EQ(accepted.load(), count);
  }
}

TEST_F(DescriptorListenerTest, ListensAtNoOtherDescriptorAndNoLongerName) {
  auto [one, other] = a_pair();
  const auto refused = DescriptorListener::start(std::move(one), "listener", [](UniqueFd) {});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.failure().error, EINVAL);
  EXPECT_EQ(listen_at(std::string(108, 'x')).failure().error, ENAMETOOLONG);
  EXPECT_EQ(listen_at("/nowhere/at/all").failure().error, ENOENT);
  EXPECT_EQ(connect_to(path_).failure().error, ENOENT);
}

}  // namespace
}  // namespace tsvmm
