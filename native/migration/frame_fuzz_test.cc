// Streams with changes at random places, seeded: whoever receives memory, and whoever is asked for pages, takes them or
// ends the connection, and touches no memory but the guest's.
#include "migration/testing/frame_fuzz.h"

#include <gtest/gtest.h>

namespace tsvmm::testing {
namespace {

using Pass = MemorySender::Pass;

// What a sender says of two passes, without an answer: it is told that there was one.
FrameFuzz::Frames sent_frames() {
  std::mt19937_64 random(7);
  Ram from;
  from.scatter(random);
  auto [one, other] = socket_pair();
  auto [heard, hearing] = socket_pair();
  Ram to;
  MemoryReceiver::Options receiving{.memory = to.memory().map()};
  receiving.sockets.push_back(std::move(hearing));
  receiving.on_pass = [](uint64_t) {};
  receiving.on_failure = [](const Failure&) {};
  auto receiver = MemoryReceiver::start(std::move(receiving)).value();
  // Between both: keeps what goes by.
  std::vector<std::byte> bytes;
  std::thread forth([&] {
    std::vector<std::byte> piece(1 << 16);
    for (ssize_t got = 0; (got = recv(other.get(), piece.data(), piece.size(), 0)) > 0;) {
      bytes.insert(bytes.end(), piece.begin(), piece.begin() + got);
      send(heard.get(), piece.data(), static_cast<size_t>(got), MSG_NOSIGNAL);
    }
  });
  std::thread back([&] {
    std::byte piece[256];
    for (ssize_t got = 0; (got = recv(heard.get(), piece, sizeof piece, 0)) > 0;) {
      send(other.get(), piece, static_cast<size_t>(got), MSG_NOSIGNAL);
    }
  });
  MemorySender::Options sending{.memory = from.memory().map(), .delta_bytes = 8 << 20};
  sending.sockets.push_back(std::move(one));
  auto sender = MemorySender::create(std::move(sending)).value();
  for (const auto pass : {Pass::kFirst, Pass::kAgain}) {
    std::promise<bool> sent;
    const auto pages = pass == Pass::kFirst ? all_pages() : change(from, random, 300);
    EXPECT_TRUE(sender->send(pass, pages, [&](const Result<>& result) { sent.set_value(static_cast<bool>(result)); }));
    EXPECT_TRUE(sent.get_future().get());
  }
  sender.reset();
  forth.join();
  receiver.reset();
  back.join();
  return FrameFuzz::split(bytes);
}

TEST(FrameFuzzTest, NoStreamDoesMoreThanEndTheConnection) {
  const auto frames = sent_frames();
  ASSERT_GT(frames.size(), 8u);
  Ram to;
  uint64_t passes = 0;
  uint64_t refused = 0;
  FrameFuzz::run([&](FrameFuzz& fuzz) {
    auto [one, other] = socket_pair();
    MemoryReceiver::Options receiving{.memory = to.memory().map()};
    receiving.sockets.push_back(std::move(other));
    std::promise<int> failed;
    receiving.on_pass = [&](uint64_t) { ++passes; };
    receiving.on_failure = [&](const Failure& failure) { failed.set_value(failure.error); };
    auto receiver = MemoryReceiver::start(std::move(receiving)).value();
    const auto writing = write_all(one.get(), fuzz.mutated(frames));
    const auto error = failed.get_future().get();
    EXPECT_TRUE(error == EBADMSG || error == ECONNRESET) << error;
    refused += error == EBADMSG ? 1 : 0;
    shutdown(one.get(), SHUT_RDWR);
    writing.wait();
  });
  // The generator must reach both.
  EXPECT_GT(passes, 0u);
  EXPECT_GT(refused, 0u);
}

TEST(FrameFuzzTest, NoRequestIsAnsweredWithMoreThanWasLeft) {
  std::mt19937_64 random(8);
  Ram from;
  from.scatter(random);
  FrameFuzz::Frames requests;
  {
    auto [one, other] = socket_pair();
    auto stream = stream_of(std::move(one));
    FrameWriter writer(stream);
    for (uint64_t pair = 0; pair < 4; ++pair) ASSERT_TRUE(writer.write_request(pair % 3, kWholePair));
    stream.cut();
    requests = FrameFuzz::split(all_of(std::move(other)).get());
  }
  ASSERT_EQ(requests.size(), 4u);
  FrameFuzz::run([&](FrameFuzz& fuzz) {
    auto [unused, silent] = socket_pair();
    auto [one, other] = socket_pair();
    MemorySender::Options sending{.memory = from.memory().map()};
    sending.sockets.push_back(std::move(unused));
    auto sender = MemorySender::create(std::move(sending)).value();
    auto rest = std::make_shared<RestPages>(all_pages());
    ASSERT_TRUE(sender->answer(std::move(other), std::chrono::seconds(60), rest));
    auto answers = std::async(std::launch::async, [fd = one.get()] {
      auto stream = stream_of(UniqueFd(dup(fd)));
      FrameReader reader(stream, kRamPages);
      uint64_t pages = 0;
      for (;;) {
        const auto read = reader.read();
        if (!read || !read.value()) return pages;
        pages += count(read.value()->pages.data | read.value()->pages.zero);
      }
    });
    const auto writing = write_all(one.get(), fuzz.mutated(requests));
    EXPECT_EQ(answers.get() + rest->count(), kRamPages);
    writing.wait();
  });
}

}  // namespace
}  // namespace tsvmm::testing
