#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

#include "memory/page_server.h"
#include "memory/testing/page_server_fixture.h"

namespace tsvmm {
namespace {

using namespace std::chrono_literals;
class PageServerFailureTest : public PageServerFixture {};

TEST_P(PageServerFailureTest, APageThatCannotBeReadKeepsItsReadersUntilTheMachineIsGivenUp) {
  source_->spoil(40);
  source_->spoil(2100);
  start();
  auto touch = [this](uint64_t page) {
    return std::async(std::launch::async, [=, this] { return ram_.is_zero(page); });
  };
  auto first = touch(40);
  const auto reason = failure_.get_future().get();
  EXPECT_NE(reason.find("checksum"), std::string::npos) << reason;
  auto second = touch(2100);
  EXPECT_TRUE(ram_.is_as_saved(600)) << "others are served";
  if (block() == 16) {
    EXPECT_TRUE(ram_.is_as_saved(41)) << "its neighbour too";
  }
  std::this_thread::sleep_for(20ms);
  EXPECT_FALSE(is_done(first));
  EXPECT_FALSE(is_done(second));
  server_->abandon();
  EXPECT_TRUE(first.get());
  EXPECT_TRUE(second.get());
  EXPECT_TRUE(ram_.is_zero(1300)) << "nothing of the image comes any more";
  EXPECT_FALSE(fill().get());
}

TEST_P(PageServerFailureTest, APageThatManyTouchIsRecordedOnceAndNotReadAgainOnceItIsBad) {
  source_->spoil(0);
  std::atomic<int> reads = 0;
  source_->before_read = [&](uint64_t page) { reads += page == 0 ? 1 : 0; };
  start({.grace = 1h, .threads = 1});
  const auto touch = [this] { return std::async(std::launch::async, [this] { return ram_.is_zero(0); }); };
  auto first = touch();
  failure_.get_future().wait();
  const int reads_of_first = reads;
  auto second = touch();
  auto third = touch();
  while (server_->counters().faults < 3) std::this_thread::sleep_for(1ms);
  EXPECT_TRUE(ram_.is_as_saved(600)) << "served after them";
  EXPECT_EQ(reads, reads_of_first);
  EXPECT_EQ(server_->recorded(), (std::vector<uint32_t>{0, block() == 16 ? 600u : 512u}));
  server_->abandon();
}

TEST_P(PageServerFailureTest, NobodyWaitsForEver) {
  source_->spoil(40);
  start({.grace = 50ms});
  EXPECT_TRUE(ram_.is_zero(40));
  EXPECT_EQ(failure_.get_future().wait_for(0s), std::future_status::ready);
}

TEST_P(PageServerFailureTest, TheOwnerIsToldInsteadOfWaiting) {
  source_->spoil(40);
  start({.owner_thread = gettid(), .grace = 1h});
  EXPECT_TRUE(ram_.is_zero(40));
  EXPECT_EQ(failure_.get_future().wait_for(0s), std::future_status::ready);
  EXPECT_TRUE(ram_.is_as_saved(1024));
}

TEST_P(PageServerFailureTest, AFillThatMeetsABadPageFails) {
  source_->spoil(2100);
  start({.grace = 1h});
  EXPECT_FALSE(fill().get());
  EXPECT_EQ(failure_.get_future().wait_for(0s), std::future_status::ready);
  EXPECT_TRUE(ram_.is_as_saved(0));
  EXPECT_TRUE(ram_.is_as_saved(4000));
}

TEST_P(PageServerFailureTest, ItsEndLeavesNobodyWaiting) {
  source_->spoil(40);
  start({.grace = 1h});
  auto reader = std::async(std::launch::async, [this] { return ram_.is_zero(40); });
  failure_.get_future().wait();
  auto filled = fill(4096);
  server_.reset();
  EXPECT_TRUE(reader.get());
  EXPECT_FALSE(filled.get());
  EXPECT_TRUE(ram_.is_zero(3000));
}

INSTANTIATE_TEST_SUITE_P(Memory, PageServerFailureTest, testing::ValuesIn(kKinds),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace tsvmm
