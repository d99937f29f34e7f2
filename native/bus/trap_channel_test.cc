#include "bus/trap_channel.h"

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace tsvmm {
namespace {

// What Node's event loop is to the channel: sleeps until it is woken or its timer goes off.
class Loop {
 public:
  bool wake() {
    std::lock_guard lock(mutex_);
    if (std::exchange(woken_, true)) return false;
    changed_.notify_one();
    return true;
  }
  void sleep(bool has_timer) {
    std::unique_lock lock(mutex_);
    const auto woken = [this] { return woken_; };
    if (has_timer) {
      changed_.wait_for(lock, std::chrono::milliseconds(TrapChannel::kCollectMs), woken);
    } else {
      changed_.wait(lock, woken);
    }
    woken_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;
};

// Answers a read with the sum of what was written to the same offset before, and writes everything down.
class Device : public TrapHandler {
 public:
  uint32_t trap(const TrapRequest& request, bool& ok) override {
    ++traps;
    if (request.value == fails_at) ok = false;
    switch (request.kind) {
      case TrapRequest::Kind::kRead:
        log += "read;";
        return sums[request.offset];
      case TrapRequest::Kind::kWrite:
        log += "write " + std::to_string(request.value) + ";";
        sums[request.offset] += request.value;
        return 0;
      case TrapRequest::Kind::kEndOfInterrupt:
        log += "eoi " + std::to_string(request.window) + ";";
        return 0;
    }
    return 0;
  }
  void posted(const PostedWrite& write, bool&) override {
    log += "post " + std::to_string(write.value) + ";";
    sums[write.offset] += write.value;
  }

  std::array<uint32_t, 8> sums{};
  std::string log;
  uint32_t traps = 0;
  uint32_t fails_at = UINT32_MAX;
};

class TrapChannelTest : public testing::Test {
 protected:
  // Serves until `body`, on a thread of its own, has returned.
  void serve_while(const std::function<void()>& body) {
    std::atomic<bool> done = false;
    std::jthread vcpu([&] {
      body();
      done = true;
      loop_.wake();
    });
    while (!done) {
      loop_.sleep(channel_.is_collecting());
      all_ok_ = channel_.serve(device_) && all_ok_;
    }
  }

  Loop loop_;
  TrapChannel channel_{[this] { return loop_.wake(); }};
  Device device_;
  bool all_ok_ = true;
  std::array<uint8_t, 64> bytes_{};
  std::shared_ptr<Window> window_ = Window::create(3, bytes_, {}).value();
};

TEST_F(TrapChannelTest, PostedWritesAreDeliveredBeforeTheTrapThatFollowsThem) {
  auto& port = channel_.add_port();
  serve_while([&] {
    port.post(*window_, 1, 1, 10);
    port.post(*window_, 1, 1, 20);
    port.write(*window_, 1, 1, 5);
    EXPECT_EQ(port.read(*window_, 1, 1), 35u);
    port.end_of_interrupt(48);
  });
  EXPECT_EQ(device_.log, "post 10;post 20;write 5;read;eoi 48;");
}

TEST_F(TrapChannelTest, ManyTrapsOfManyVcpusEachGetTheirOwnAnswer) {
  constexpr uint32_t kVcpus = 4;
  constexpr uint32_t kRounds = 2'000;
  std::vector<TrapPort*> ports;
  for (uint32_t index = 0; index < kVcpus; ++index) ports.push_back(&channel_.add_port());
  serve_while([&] {
    std::vector<std::jthread> vcpus;
    for (uint32_t index = 0; index < kVcpus; ++index) {
      vcpus.emplace_back([&, index] {
        for (uint32_t round = 1; round <= kRounds; ++round) {
          ports[index]->write(*window_, index, 4, 1);
          ports[index]->post(*window_, index, 4, 1);
          ASSERT_EQ(ports[index]->read(*window_, index, 4), 2 * round);
        }
      });
    }
  });
  EXPECT_EQ(device_.traps, 2 * kVcpus * kRounds);
}

// Guests do this to a serial port: one vCPU writes a character, another the next one.
TEST_F(TrapChannelTest, WhatVcpusPostInTurnStaysInOrder) {
  constexpr uint32_t kRounds = 5'000;
  auto& first = channel_.add_port();
  auto& second = channel_.add_port();
  std::string expected;
  for (uint32_t round = 0; round < kRounds; ++round) expected += "post " + std::to_string(round) + ";";
  serve_while([&] {
    std::atomic<uint32_t> turn = 0;
    const auto write = [&](TrapPort& port, uint32_t parity) {
      for (uint32_t round = parity; round < kRounds; round += 2) {
        while (turn.load(std::memory_order_acquire) != round) std::this_thread::yield();
        port.post(*window_, 0, 1, round);
        turn.store(round + 1, std::memory_order_release);
      }
    };
    std::jthread other([&] { write(second, 1); });
    write(first, 0);
    other.join();
    first.write(*window_, 0, 1, 0);
  });
  EXPECT_EQ(device_.log, expected + "write 0;");
}

TEST_F(TrapChannelTest, MorePostedWritesThanTheRingHoldsWaitForRoom) {
  auto& port = channel_.add_port();
  constexpr uint32_t kWrites = 5 * PostedRing::kCapacity;
  serve_while([&] {
    for (uint32_t write = 0; write < kWrites; ++write) port.post(*window_, 0, 1, 1);
    EXPECT_EQ(port.read(*window_, 0, 4), kWrites);
  });
}

TEST_F(TrapChannelTest, AFailedHandlerIsReportedAndTheVcpuAnswered) {
  auto& port = channel_.add_port();
  device_.fails_at = 13;
  serve_while([&] {
    port.write(*window_, 0, 1, 12);
    port.write(*window_, 0, 1, 13);
  });
  EXPECT_FALSE(all_ok_);
}

TEST_F(TrapChannelTest, WhatWasPostedLastIsDeliveredOnRequest) {
  auto& port = channel_.add_port();
  std::jthread([&] { port.post(*window_, 0, 1, 9); }).join();
  EXPECT_TRUE(channel_.deliver_pending(device_));
  EXPECT_EQ(device_.log, "post 9;");
}

TEST_F(TrapChannelTest, ShuttingAnswersWhoWaitsWithOnes) {
  auto& asking = channel_.add_port();
  auto& posting = channel_.add_port();
  uint32_t answer = 0;
  {
    std::jthread first([&] { answer = asking.read(*window_, 0, 4); });
    std::jthread second([&] {
      for (uint32_t write = 0; write < 3 * PostedRing::kCapacity; ++write) posting.post(*window_, 0, 1, 1);
    });
    loop_.sleep(false);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    channel_.shut();
  }
  EXPECT_EQ(answer, UINT32_MAX);
  EXPECT_EQ(asking.read(*window_, 0, 4), UINT32_MAX) << "nobody serves any more";
  EXPECT_EQ(device_.traps, 0u);
}

TEST_F(TrapChannelTest, MergedNotificationsCountOnce) {
  auto& port = channel_.add_port();
  for (int write = 0; write < 5; ++write) port.post(*window_, 0, 1, 1);
  EXPECT_EQ(channel_.wakeups(), 1u);
}

}  // namespace
}  // namespace tsvmm
