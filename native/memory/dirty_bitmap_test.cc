#include "memory/dirty_bitmap.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace tsvmm {
namespace {

constexpr uint64_t kPage = kPageBytes;
constexpr uint64_t kLow = 0x10000;
constexpr uint64_t kHigh = 1ull << 32;
constexpr uint64_t kLowPages = 10;
constexpr uint64_t kHighPages = 200;

std::vector<uint64_t> numbers(const DirtyPages& pages) {
  std::vector<uint64_t> set;
  for (uint64_t page = 0; page < pages.words().size() * 64; ++page) {
    if (pages.has(page)) set.push_back(page);
  }
  return set;
}

std::vector<uint64_t> run(uint64_t first, uint64_t count) {
  std::vector<uint64_t> pages;
  for (uint64_t page = first; page < first + count; ++page) pages.push_back(page);
  return pages;
}

class DirtyBitmapTest : public testing::Test {
 protected:
  void SetUp() override {
    bitmap_.add_range(kHigh, kHighPages * kPage);
    bitmap_.add_range(kLow, kLowPages * kPage);
  }
  std::vector<uint64_t> take() {
    const auto taken = bitmap_.take();
    EXPECT_TRUE(taken.ok());
    return numbers(taken.value());
  }

  DirtyBitmap bitmap_;
};

TEST_F(DirtyBitmapTest, CountsPagesInImageSpace) {
  ASSERT_TRUE(bitmap_.start().ok());
  bitmap_.mark(kLow, 1);
  bitmap_.mark(kLow + 2 * kPage - 1, 2);
  bitmap_.mark(kHigh + 199 * kPage, kPage);
  bitmap_.mark(kHigh + 61 * kPage, 5 * kPage);
  EXPECT_EQ(take(), (std::vector<uint64_t>{0, 1, 2, 71, 72, 73, 74, 75, 209}));
  EXPECT_EQ(take(), std::vector<uint64_t>{});
}

TEST_F(DirtyBitmapTest, WhatIsNoRamIsLeftOut) {
  ASSERT_TRUE(bitmap_.start().ok());
  bitmap_.mark(0, kLow);
  bitmap_.mark(kLow + kLowPages * kPage, kPage);
  bitmap_.mark(kHigh, 0);
  bitmap_.mark(kHigh + kHighPages * kPage, UINT64_MAX);
  EXPECT_EQ(take(), std::vector<uint64_t>{});
  bitmap_.mark(kLow + 9 * kPage, kHigh - kLow);
  EXPECT_EQ(take(), run(9, 10)) << "one mark over the hole between both";
  bitmap_.mark(kHigh + 199 * kPage, UINT64_MAX);
  EXPECT_EQ(take(), run(209, 1)) << "an end beyond the address space";
}

TEST_F(DirtyBitmapTest, OffNothingIsKept) {
  bitmap_.mark(kLow, kPage);
  EXPECT_EQ(bitmap_.take().failure().error, EINVAL);
  ASSERT_TRUE(bitmap_.start().ok());
  EXPECT_TRUE(bitmap_.is_on());
  EXPECT_EQ(bitmap_.start().failure().error, EALREADY);
  bitmap_.mark(kLow, kPage);
  bitmap_.stop();
  EXPECT_FALSE(bitmap_.is_on());
  bitmap_.mark(kLow + kPage, kPage);
  ASSERT_TRUE(bitmap_.start().ok());
  EXPECT_EQ(take(), std::vector<uint64_t>{}) << "a start begins anew";
}

TEST_F(DirtyBitmapTest, WhatIsPutBackIsTakenAgain) {
  ASSERT_TRUE(bitmap_.start().ok());
  bitmap_.mark(kLow + kPage, kPage);
  bitmap_.mark(kHigh + 63 * kPage, 2 * kPage);
  const auto taken = bitmap_.take();
  bitmap_.mark(kLow, 1);
  bitmap_.put_back(taken.value());
  EXPECT_EQ(take(), (std::vector<uint64_t>{0, 1, 73, 74}));
}

TEST_F(DirtyBitmapTest, ARangeThatComesWhileOnIsDirtyAndOneThatGoesIsNot) {
  ASSERT_TRUE(bitmap_.start().ok());
  bitmap_.mark(kLow, 1);
  bitmap_.mark(kHigh, 1);
  bitmap_.add_range(kHigh / 2, 70 * kPage);
  auto expected = run(kLowPages, 70);
  expected.insert(expected.begin(), 0);
  expected.push_back(kLowPages + 70);
  EXPECT_EQ(take(), expected);
  bitmap_.mark(kLow, 1);
  bitmap_.remove_range(kLow);
  bitmap_.mark(kHigh, 1);
  EXPECT_EQ(take(), run(70, 1));
}

TEST(DirtyPagesTest, ARunThatLiesAcrossWordsAndRangesIsMerged) {
  DirtyPages pages({{0, 10}, {20 * kPage, 100}});
  EXPECT_EQ(pages.page_count(), 110u);
  EXPECT_EQ(pages.words().size(), 2u);
  const std::vector<uint64_t> bits{~uint64_t{0}, 1ull << 63, 3};
  // From page 5 on: all of 5 to 68, then 132, then 133 and 134.
  pages.merge(5 * kPage, bits, 130);
  auto expected = run(5, 5);
  for (const auto page : run(10, 49)) expected.push_back(page);
  EXPECT_EQ(numbers(pages), expected);
  DirtyPages other({{70 * kPage, 70}});
  other.merge(5 * kPage, bits, 130);
  EXPECT_EQ(numbers(other), (std::vector<uint64_t>{62, 63, 64}));
  DirtyPages cut({{70 * kPage, 70}});
  cut.merge(5 * kPage, bits, 129);
  EXPECT_EQ(numbers(cut), (std::vector<uint64_t>{62, 63})) << "bits behind the last page do not count";
}

// The union of all that is taken is all that was marked, and every page is taken after its last mark.
TEST(DirtyBitmapThreadsTest, NoMarkIsLostToSomebodyWhoTakes) {
  constexpr uint64_t kPages = 4096;
  constexpr unsigned kThreads = 4;
  constexpr unsigned kRounds = 50;
  DirtyBitmap bitmap;
  bitmap.add_range(0, kPages * kPage);
  ASSERT_TRUE(bitmap.start().ok());
  // What a thread "wrote" into each page, before it marked it, as guest memory is written.
  std::vector<std::atomic<unsigned>> written(kPages);
  std::vector<unsigned> copied(kPages);
  std::atomic<unsigned> running = kThreads;
  std::vector<std::thread> threads;
  for (unsigned thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (unsigned round = 1; round <= kRounds; ++round) {
        for (uint64_t page = thread; page < kPages; page += kThreads) {
          written[page].store(round, std::memory_order_relaxed);
          bitmap.mark(page * kPage + 17, 100);
        }
      }
      running.fetch_sub(1);
    });
  }
  const auto copy = [&] {
    const auto taken = bitmap.take();
    ASSERT_TRUE(taken.ok());
    for (const auto page : numbers(taken.value())) copied[page] = written[page].load(std::memory_order_relaxed);
  };
  while (running.load() != 0) copy();
  for (auto& thread : threads) thread.join();
  copy();
  for (uint64_t page = 0; page < kPages; ++page) ASSERT_EQ(copied[page], kRounds) << page;
}

TEST(DirtyBitmapThreadsTest, StartsStopsAndNewRangesMayMeetMarks) {
  constexpr uint64_t kPages = 256;
  DirtyBitmap bitmap;
  bitmap.add_range(0, kPages * kPage);
  std::vector<std::atomic<unsigned>> written(kPages);
  std::vector<unsigned> copied(kPages);
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (unsigned round = 1; !stop.load(std::memory_order_relaxed); ++round) {
      for (uint64_t page = 0; page < kPages; ++page) {
        written[page].store(round, std::memory_order_relaxed);
        bitmap.mark(page * kPage, kPage);
      }
    }
  });
  for (unsigned round = 0; round < 200; ++round) {
    ASSERT_TRUE(bitmap.start().ok());
    // The full copy that a start is followed by.
    for (uint64_t page = 0; page < kPages; ++page) copied[page] = written[page].load(std::memory_order_relaxed);
    bitmap.add_range(kHigh, kPage);
    const bool last = round == 199;
    if (last) {
      stop = true;
      writer.join();
    }
    const auto taken = bitmap.take();
    ASSERT_TRUE(taken.ok());
    EXPECT_TRUE(taken.value().has(kPages));
    for (const auto page : numbers(taken.value())) {
      if (page < kPages) copied[page] = written[page].load(std::memory_order_relaxed);
    }
    bitmap.remove_range(kHigh);
    bitmap.stop();
  }
  for (uint64_t page = 0; page < kPages; ++page) ASSERT_EQ(copied[page], written[page].load()) << page;
}

}  // namespace
}  // namespace tsvmm
