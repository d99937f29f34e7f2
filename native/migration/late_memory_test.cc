#include "migration/late_memory.h"

#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "memory/testing/page_server_fixture.h"
#include "migration/memory_sender.h"
#include "migration/testing/frame_fuzz.h"
#include "migration/testing/transfer.h"

namespace tsvmm {
namespace {

using namespace std::chrono_literals;
using Pass = MemorySender::Pass;
constexpr auto kPatience = std::chrono::milliseconds(60s);

// The source has what fake_pages.h says, the destination something else of every third page, and nothing of others.
class LateMemoryTest : public PageServerFixture {
 protected:
  void SetUp() override {
    PageServerFixture::SetUp();
    if (IsSkipped()) return;
    ASSERT_TRUE(source_ram_.create({}));
    for (uint64_t page = 0; page < FakeRam::kPages; ++page) {
      if (!is_zero_page(page)) std::memcpy(source_ram_.at(page), expected_page(page).data(), kImagePageSize);
    }
    missing_ = PageBitmap::all(FakeRam::kPages);
    for (uint64_t page = 0; page < FakeRam::kPages; page += 3) std::memset(ram_.at(page), 0x55, kImagePageSize);
  }

  // Pages that are there already, and zero pages that nobody touched there.
  void keep(uint64_t first, uint64_t end) {
    PageBitmap missing(missing_.pages());
    for (uint64_t page = 0; page < missing_.pages(); ++page) {
      const bool is_kept = page >= first && page < end;
      if (is_kept) std::memcpy(ram_.at(page), expected_page(page).data(), kImagePageSize);
      if (!is_kept) missing.set(page);
    }
    missing_ = missing;
  }

  void start_late() {
    auto started = LateMemory::start({.memory = ram_.map,
                                      .missing = missing_,
                                      .receiver = receiver_.get(),
                                      .on_complete = [this] { complete_.set_value(); },
                                      .owner_thread = gettid()});
    ASSERT_TRUE(started) << started.failure().operation;
    late_ = std::move(started).value();
  }

  enum class Push { kLater, kBeforeItIsReceived };
  // New connections between both sides; the source knows what is missing.
  void connect(Push push = Push::kLater) {
    sender_.reset();
    receiver_.reset();
    MemorySender::Options sending{.memory = source_ram_.map};
    MemoryReceiver::Options receiving{.memory = ram_.map};
    for (int connection = 0; connection < 3; ++connection) {
      auto [one, other] = testing::socket_pair();
      sending.sockets.push_back(std::move(one));
      receiving.sockets.push_back(std::move(other));
    }
    receiving.on_pass = [](uint64_t) {};
    receiving.on_failure = [](const Failure&) {};
    receiving.late = late_->reception();
    sender_ = MemorySender::create(std::move(sending)).value();
    rest_ = std::make_shared<RestPages>(late_->missing());
    auto [one, other] = testing::socket_pair();
    ASSERT_TRUE(sender_->answer(std::move(one), kPatience, rest_));
    if (push == Push::kBeforeItIsReceived) {
      this->push();
      std::this_thread::sleep_for(10ms);
    }
    receiver_ = MemoryReceiver::start(std::move(receiving)).value();
    ASSERT_TRUE(late_->ask_at(std::move(other), kPatience, [this](const Failure&) { ++broken_lines_; }));
  }

  void push() {
    ASSERT_TRUE(sender_->send_rest(rest_, [](const Result<>&) {}));
  }
  bool is_complete() { return complete_.get_future().wait_for(kPatience) == std::future_status::ready; }

  void TearDown() override {
    receiver_.reset();
    late_.reset();
    sender_.reset();
  }

  FakeRam source_ram_;
  PageBitmap missing_;
  std::promise<void> complete_;
  std::atomic<int> broken_lines_ = 0;
  std::shared_ptr<RestPages> rest_;
  std::unique_ptr<MemorySender> sender_;
  std::unique_ptr<MemoryReceiver> receiver_;
  std::unique_ptr<LateMemory> late_;
};
INSTANTIATE_TEST_SUITE_P(Kinds, LateMemoryTest, ::testing::ValuesIn(kKinds),
                         [](const auto& kind) { return std::string(kind.param.name); });

TEST_P(LateMemoryTest, WhatIsTouchedComesWhenItIsAskedFor) {
  start_late();
  connect();
  std::vector<std::future<bool>> readers;
  for (unsigned seed = 0; seed < 3; ++seed) {
    readers.push_back(std::async(std::launch::async, [this, seed] {
      std::minstd_rand random(seed + 1);
      for (int count = 0; count < 1000; ++count) {
        if (!ram_.is_as_saved(random() % FakeRam::kPages)) return false;
      }
      return true;
    }));
  }
  for (auto& reader : readers) EXPECT_TRUE(reader.get());
  EXPECT_GT(late_->faults(), 0u);
}

TEST_P(LateMemoryTest, TheRestComesMeanwhile) {
  start_late();
  connect();
  auto reader = std::async(std::launch::async, [this] {
    std::minstd_rand random(1);
    for (int count = 0; count < 2000; ++count) {
      if (!ram_.is_as_saved(random() % FakeRam::kPages)) return false;
    }
    return true;
  });
  push();
  EXPECT_TRUE(is_complete());
  EXPECT_TRUE(reader.get());
  EXPECT_TRUE(all_as_saved());
  EXPECT_EQ(late_->missing_pages(), 0u);
}

// A receiver that wrote that into memory as it is would wait for itself.
TEST_P(LateMemoryTest, WhatIsThereBeforeSomebodyReceivesItIsForItToo) {
  start_late();
  for (int time = 0; time < 20; ++time) {
    connect(Push::kBeforeItIsReceived);
    receiver_.reset();
  }
  connect(Push::kBeforeItIsReceived);
  EXPECT_TRUE(is_complete());
  EXPECT_TRUE(all_as_saved());
}

// Nobody's business, but nobody is to hang for it.
TEST_P(LateMemoryTest, WhatComesWhileMemoryBecomesLateIsForItToo) {
  for (int time = 0; time < 20; ++time) {
    late_.reset();
    sender_.reset();
    receiver_.reset();
    auto [one, other] = testing::socket_pair();
    MemorySender::Options sending{.memory = source_ram_.map};
    sending.sockets.push_back(std::move(one));
    MemoryReceiver::Options receiving{.memory = ram_.map};
    receiving.sockets.push_back(std::move(other));
    receiving.on_pass = [](uint64_t) {};
    receiving.on_failure = [](const Failure&) {};
    receiver_ = MemoryReceiver::start(std::move(receiving)).value();
    sender_ = MemorySender::create(std::move(sending)).value();
    ASSERT_TRUE(sender_->send(Pass::kFirst, PageBitmap::all(FakeRam::kPages), [](const Result<>&) {}));
    std::this_thread::sleep_for(std::chrono::microseconds(200 * time));
    auto started = LateMemory::start({.memory = ram_.map,
                                      .missing = missing_,
                                      .receiver = receiver_.get(),
                                      .on_complete = [] {},
                                      .owner_thread = gettid()});
    ASSERT_TRUE(started) << started.failure().operation;
    late_ = std::move(started).value();
  }
}

TEST_P(LateMemoryTest, WhatIsThereAlreadyStays) {
  keep(512, 2048);
  start_late();
  EXPECT_EQ(late_->missing_pages(), FakeRam::kPages - 1536);
  // Nobody is asked for it.
  EXPECT_TRUE(ram_.is_as_saved(600));
  EXPECT_TRUE(ram_.is_as_saved(515)) << "a page of zeroes";
  connect();
  push();
  EXPECT_TRUE(is_complete());
  EXPECT_TRUE(all_as_saved());
}

TEST_P(LateMemoryTest, WritesAreKept) {
  start_late();
  connect();
  for (uint64_t page = 0; page < FakeRam::kPages; page += 50) ram_.words(page)[1] = page;
  push();
  EXPECT_TRUE(is_complete());
  for (uint64_t page = 0; page < FakeRam::kPages; page += 50) {
    ASSERT_EQ(ram_.words(page)[1], page);
    ASSERT_EQ(ram_.words(page)[2], expected_page(page)[2]);
  }
}

TEST_P(LateMemoryTest, WhoTouchesAPageWhileTheConnectionIsBrokenWaitsForTheNext) {
  start_late();
  connect();
  EXPECT_TRUE(ram_.is_as_saved(0));
  sender_.reset();
  auto reader = std::async(std::launch::async, [this] { return ram_.is_as_saved(2000); });
  EXPECT_EQ(reader.wait_for(100ms), std::future_status::timeout);
  connect();
  EXPECT_TRUE(reader.get());
  // Again and again, in the middle of everything.
  auto readers = std::async(std::launch::async, [this] {
    for (uint64_t page = 0; page < FakeRam::kPages; ++page) {
      if (!ram_.is_as_saved(page)) return false;
    }
    return true;
  });
  for (int round = 0; round < 5; ++round) {
    push();
    std::this_thread::sleep_for(1ms);
    connect();
  }
  push();
  EXPECT_TRUE(is_complete());
  EXPECT_TRUE(readers.get());
}

TEST_P(LateMemoryTest, AConnectionThatAnswersNothingIsBroken) {
  start_late();
  auto [silent, other] = testing::socket_pair();
  std::promise<Failure> broken;
  ASSERT_TRUE(late_->ask_at(std::move(other), 50ms, [&](const Failure& failure) { broken.set_value(failure); }));
  auto breaks = broken.get_future();
  // As long as nobody asks there is nothing to answer.
  EXPECT_EQ(breaks.wait_for(200ms), std::future_status::timeout);
  auto reader = std::async(std::launch::async, [this] { return ram_.is_as_saved(2000); });
  EXPECT_EQ(breaks.get().error, ETIMEDOUT);
  char request[256];
  while (recv(silent.get(), request, sizeof request, 0) > 0) {
  }
  connect();
  EXPECT_TRUE(reader.get());
}

TEST_P(LateMemoryTest, NoAnswerDoesMoreThanEndTheConnection) {
  std::vector<std::byte> answered;
  {
    auto [one, other] = testing::socket_pair();
    auto bytes = testing::all_of(std::move(other));
    auto stream = testing::stream_of(std::move(one));
    FrameWriter writer(stream);
    const std::vector<std::byte> contents(64 * kPageBytes, std::byte{7});
    for (uint64_t span = 0; span < 6; ++span) {
      PagesFrame frame{.contents = contents};
      for (unsigned page = 0; page < 64; ++page) set(frame.data, 2 * page);
      for (unsigned page = 0; page < 64; ++page) set(frame.zero, 2 * page + 1);
      ASSERT_TRUE(writer.write_pages(span, frame));
    }
    stream.cut();
    answered = bytes.get();
  }
  const auto frames = testing::FrameFuzz::split(answered);
  ASSERT_EQ(frames.size(), 6u);
  start_late();
  testing::FrameFuzz::run([&](testing::FrameFuzz& fuzz) {
    auto [one, other] = testing::socket_pair();
    std::promise<int> broken;
    ASSERT_TRUE(
        late_->ask_at(std::move(other), kPatience, [&](const Failure& failure) { broken.set_value(failure.error); }));
    const auto writing = testing::write_all(one.get(), fuzz.mutated(frames));
    const auto error = broken.get_future().get();
    EXPECT_TRUE(error == EBADMSG || error == ECONNRESET) << error;
    writing.wait();
  });
  connect();
  push();
  EXPECT_TRUE(is_complete());
}

TEST_P(LateMemoryTest, NobodyWaitsForWhatIsGivenUp) {
  start_late();
  auto reader = std::async(std::launch::async, [this] { return ram_.is_zero(1); });
  EXPECT_EQ(reader.wait_for(50ms), std::future_status::timeout);
  late_->abandon();
  EXPECT_TRUE(reader.get());
}

TEST_P(LateMemoryTest, TheThreadThatMakesConnectionsDoesNotWaitForOne) {
  start_late();
  EXPECT_TRUE(ram_.is_zero(1));
  connect();
  sender_.reset();
  EXPECT_TRUE(ram_.is_zero(2000));
}

TEST_P(LateMemoryTest, TheThreadThatMakesConnectionsDoesNotWaitWhileOtherPagesCome) {
  start_late();
  auto [asked, asking] = testing::socket_pair();
  ASSERT_TRUE(late_->ask_at(std::move(asking), 100ms, [this](const Failure&) { ++broken_lines_; }));
  auto [one, other] = testing::socket_pair();
  MemoryReceiver::Options receiving{.memory = ram_.map};
  receiving.sockets.push_back(std::move(other));
  receiving.late = late_->reception();
  receiving.on_failure = [](const Failure&) {};
  receiver_ = MemoryReceiver::start(std::move(receiving)).value();
  std::atomic<bool> has_enough = false;
  std::thread source([&, socket = std::move(one)]() mutable {
    auto stream = testing::stream_of(std::move(socket));
    FrameWriter writer(stream);
    for (uint64_t page = 0; page < 1000 && !has_enough; ++page) {
      PagesFrame frame;
      set(frame.zero, static_cast<unsigned>(page % kSpanPages));
      if (!writer.write_pages(page / kSpanPages, frame)) return;
      std::this_thread::sleep_for(10ms);
    }
  });
  EXPECT_TRUE(ram_.is_zero(2000));
  has_enough = true;
  source.join();
  EXPECT_EQ(broken_lines_, 1);
}

TEST_P(LateMemoryTest, WhatWasRemovedReadsAsZeroes) {
  start_late();
  connect();
  EXPECT_TRUE(ram_.is_as_saved(0));
  ASSERT_TRUE(ram_.mapping->discard());
  for (uint64_t page = 0; page < FakeRam::kPages; ++page) ASSERT_TRUE(ram_.is_zero(page)) << page;
}

}  // namespace
}  // namespace tsvmm
