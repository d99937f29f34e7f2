#include "virtio/mailbox_engine.h"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>

#include "virtio/testing/dirty_check.h"
#include "virtio/testing/guest_driver.h"

namespace tsvmm {
namespace {

constexpr uint64_t kRam = 0x100000;
constexpr uint64_t kRamSize = 1 << 20;
constexpr uint64_t kData = kRam + 0x80000;

class MailboxEngineTest : public testing::Test {
 protected:
  void SetUp() override {
    EngineOptions options;
    options.name = "__rng";
    options.memory = ram_.memory;
    options.on_failure = [this](uint16_t, const char* reason) {
      std::lock_guard lock(mutex_);
      failure_ = reason;
      changed_.notify_all();
    };
    options.on_stopped = [] {};
    engine_ = std::make_unique<MailboxEngine>(std::move(options),
                                              MailboxEngine::Options{.maximum_readable_bytes = 64, .on_chains = [this] {
                                                                       std::lock_guard lock(mutex_);
                                                                       ++arrivals_;
                                                                       changed_.notify_all();
                                                                     }});
  }

  void start(std::vector<Vring> vrings) {
    ASSERT_FALSE(engine_->start(std::move(vrings), kFeatureEventIndex).has_value());
  }
  MailboxChain take() {
    for (;;) {
      if (auto chain = engine_->take()) return *chain;
      std::unique_lock lock(mutex_);
      const auto seen = arrivals_;
      // One that came before `seen` was read is found by the short wait.
      changed_.wait_for(lock, std::chrono::milliseconds(20), [&] { return arrivals_ != seen; });
      if (++waits_ > 500) {
        ADD_FAILURE() << "no chain";
        return {};
      }
    }
  }
  std::string wait_failure() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(10), [&] { return !failure_.empty(); });
    return failure_;
  }
  MailboxEngine::Completion complete(const MailboxChain& chain, std::string_view answer) {
    return engine_->complete(chain.queue, chain.token,
                             {reinterpret_cast<const uint8_t*>(answer.data()), answer.size()});
  }

  GuestRam ram_{kRam, kRamSize};
  GuestDriver driver_{ram_, 8, kFeatureEventIndex, kRam, 65530};
  std::mutex mutex_;
  std::condition_variable changed_;
  int arrivals_ = 0;
  int waits_ = 0;
  std::string failure_;
  std::unique_ptr<MailboxEngine> engine_;
};

using Completion = MailboxEngine::Completion;

TEST_F(MailboxEngineTest, HandsOverCopiesAndWritesAnswersBack) {
  start({driver_.vring(3)});
  ram_.write(kData, "question");
  const auto head = driver_.add({{kData, 5}, {kData + 5, 3}, {kData + 0x100, 4, true}, {kData + 0x200, 10, true}});
  driver_.doorbell->signal();
  const auto chain = take();
  EXPECT_EQ(chain.queue, 3);
  EXPECT_EQ(chain.token, head);
  EXPECT_EQ(std::string(chain.readable.begin(), chain.readable.end()), "question");
  EXPECT_EQ(chain.writable_bytes, 14u);
  EXPECT_EQ(complete(chain, "an answer"), Completion::kDone);
  vring_used_elem element{};
  ASSERT_TRUE(driver_.wait_used(element));
  EXPECT_EQ(element.len, 9u);
  EXPECT_EQ(ram_.read(kData + 0x100, 4) + ram_.read(kData + 0x200, 5), "an answer");
}

TEST_F(MailboxEngineTest, RefusesCompletionsOfNothingAndOfTooMuch) {
  start({driver_.vring(0)});
  driver_.add({{kData, 4, true}});
  driver_.doorbell->signal();
  const auto chain = take();
  EXPECT_EQ(complete(chain, "12345"), Completion::kTooLong);
  EXPECT_EQ(engine_->complete(0, chain.token ^ 1, {}), Completion::kUnknown);
  EXPECT_EQ(engine_->complete(9, chain.token, {}), Completion::kUnknown);
  EXPECT_EQ(complete(chain, "1234"), Completion::kDone);
  EXPECT_EQ(complete(chain, "1234"), Completion::kUnknown) << "once only";
}

TEST_F(MailboxEngineTest, GivesChainsBackInTheOrderTheyWereOffered) {
  start({driver_.vring(0)});
  const uint16_t heads[] = {driver_.add({{kData, 4, true}}), driver_.add({{kData + 8, 4, true}}),
                            driver_.add({{kData + 16, 4, true}})};
  driver_.doorbell->signal();
  const MailboxChain chains[] = {take(), take(), take()};
  EXPECT_EQ(complete(chains[2], "c"), Completion::kDone);
  EXPECT_EQ(complete(chains[1], "b"), Completion::kDone);
  EXPECT_EQ(driver_.used_index(), 65530) << "the first one is still out";
  EXPECT_EQ(complete(chains[0], "a"), Completion::kDone);
  for (const auto head : heads) {
    vring_used_elem element{};
    ASSERT_TRUE(driver_.wait_used(element));
    EXPECT_EQ(element.id, head);
  }
}

TEST_F(MailboxEngineTest, WhatWasNotCompletedIsOfferedAgainAfterAStop) {
  start({driver_.vring(0)});
  const auto first = driver_.add({{kData, 4, true}});
  const auto second = driver_.add({{kData + 8, 4, true}});
  const auto third = driver_.add({{kData + 16, 4, true}});
  driver_.doorbell->signal();
  EXPECT_EQ(complete(take(), "1"), Completion::kDone);
  const auto lost = take();
  EXPECT_EQ(lost.token, second);
  engine_->request_stop();
  EXPECT_FALSE(engine_->take().has_value()) << "nothing is handed out while stopping";
  EXPECT_EQ(complete(lost, "2"), Completion::kStopped);
  const auto positions = engine_->finish();
  EXPECT_EQ(complete(lost, "2"), Completion::kStopped);
  ASSERT_EQ(positions.size(), 1u);
  EXPECT_EQ(positions[0].next_available, static_cast<uint16_t>(65531));
  EXPECT_EQ(positions[0].next_used, static_cast<uint16_t>(65531));
  EXPECT_EQ(ram_.read(kData + 8, 1), std::string(1, 0));

  driver_.layout.next_available = positions[0].next_available;
  driver_.layout.next_used = positions[0].next_used;
  start({driver_.vring(0)});
  EXPECT_EQ(complete(lost, "late"), Completion::kStopped) << "its run is over";
  for (const auto head : {second, third}) {
    const auto chain = take();
    EXPECT_EQ(chain.token & 0xffff, head);
    EXPECT_NE(chain.token, head);
    EXPECT_EQ(complete(chain, "x"), Completion::kDone);
  }
  for (const auto head : {first, second, third}) {
    vring_used_elem element{};
    ASSERT_TRUE(driver_.wait_used(element));
    EXPECT_EQ(element.id, head);
  }
}

TEST_F(MailboxEngineTest, AChainWithTooManyReadableBytesBreaksItsQueue) {
  start({driver_.vring(0)});
  driver_.add({{kData, 65}});
  driver_.doorbell->signal();
  EXPECT_EQ(wait_failure(), "a chain with more readable bytes than allowed");
  engine_->request_stop();
  EXPECT_EQ(engine_->finish().front().next_used, 65530);
}

TEST_F(MailboxEngineTest, AHeadOfferedTwiceBreaksItsQueue) {
  start({driver_.vring(0)});
  const auto head = driver_.add({{kData, 4, true}});
  driver_.doorbell->signal();
  const auto chain = take();
  driver_.offer(head);
  driver_.doorbell->signal();
  EXPECT_EQ(wait_failure(), "a chain offered again before it went back");
  EXPECT_EQ(complete(chain, "late"), Completion::kDone) << "and nothing happens";
  EXPECT_EQ(driver_.used_index(), 65530);
}

TEST_F(MailboxEngineTest, ServesManyChainsOfTwoQueues) {
  GuestDriver other(ram_, 16, kFeatureEventIndex, kRam + 0x10000);
  start({driver_.vring(0), other.vring(1)});
  for (int round = 0; round < 500; ++round) {
    auto& driver = round % 3 == 0 ? driver_ : other;
    const auto head = driver.add({{kData, 8}, {kData + 0x100, 8, true}});
    driver.doorbell->signal();
    const auto chain = take();
    ASSERT_EQ(chain.token, head);
    ASSERT_EQ(complete(chain, "12345678"), Completion::kDone);
    vring_used_elem element{};
    ASSERT_TRUE(driver.wait_used(element));
    ASSERT_EQ(element.id, head);
  }
}

TEST_F(MailboxEngineTest, AllThatItChangesIsMarked) {
  ram_.write(kData, "question");
  driver_.add({{kData, 8}, {kData + 0x1ffe, 4, true}, {kData + 0x4000, 0x2000, true}});
  const DirtyCheck check(ram_, kRamSize);
  start({driver_.vring(0)});
  const auto chain = take();
  EXPECT_EQ(complete(chain, "an answer"), Completion::kDone);
  vring_used_elem element{};
  ASSERT_TRUE(driver_.wait_used(element));
  engine_->request_stop();
  engine_->finish();
  const std::set<uint64_t> expected{driver_.layout.used_ring, kData + 0x1000, kData + 0x2000, kData + 0x4000};
  auto changed = check.changed();
  changed.erase(driver_.layout.available_ring);
  EXPECT_EQ(changed, expected);
  EXPECT_EQ(check.marked(), expected);
}

}  // namespace
}  // namespace tsvmm
