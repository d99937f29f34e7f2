#include "io/rate_limiter.h"

#include <gtest/gtest.h>

#include <random>
#include <thread>
#include <vector>

namespace tsvmm {
namespace {

constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kMost = (uint64_t{1} << 53) - 1;

TEST(TokenBucketTest, AFullBucketIsEmptiedAndFillsEvenly) {
  TokenBucket bucket({.size = 100, .one_time_burst = 0, .refill_ns = 1000 * kMs}, 0);
  EXPECT_EQ(bucket.wait_ns(0), 0u);
  bucket.take(100, 0);
  EXPECT_EQ(bucket.wait_ns(0), 10 * kMs + 1) << "a hundredth of the time to fill it";
  EXPECT_EQ(bucket.wait_ns(4 * kMs), 6 * kMs + 1);
  EXPECT_EQ(bucket.wait_ns(10 * kMs), 0u);
  bucket.take(1, 10 * kMs);
  EXPECT_EQ(bucket.level(510 * kMs).budget, 50);
  EXPECT_EQ(bucket.level(5000 * kMs).budget, 100) << "and no fuller";
}

TEST(TokenBucketTest, WhatIsLargerThanTheBucketPassesAndIsWaitedFor) {
  TokenBucket bucket({.size = 10, .one_time_burst = 0, .refill_ns = 100 * kMs}, 0);
  bucket.take(1000, 0);
  EXPECT_EQ(bucket.wait_ns(0), (990 + 1) * 10 * kMs + 1);
  EXPECT_NE(bucket.wait_ns(9900 * kMs), 0u);
  EXPECT_EQ(bucket.wait_ns(9911 * kMs), 0u);
}

TEST(TokenBucketTest, ABurstIsHadOnce) {
  TokenBucket bucket({.size = 10, .one_time_burst = 100, .refill_ns = 100 * kMs}, 0);
  bucket.take(60, 5 * kMs);
  EXPECT_EQ(bucket.level(5 * kMs).burst, 40u);
  EXPECT_EQ(bucket.level(5 * kMs).budget, 10);
  bucket.take(50, 10 * kMs);
  EXPECT_EQ(bucket.level(10 * kMs).burst, 0u);
  EXPECT_EQ(bucket.level(10 * kMs).budget, 0) << "a bucket that is full does not fill meanwhile";
  EXPECT_NE(bucket.wait_ns(10 * kMs), 0u);
  EXPECT_EQ(bucket.level(1000 * kMs).burst, 0u);
}

TEST(TokenBucketTest, TheRateIsKeptHoweverItIsAskedFor) {
  std::mt19937_64 random(7);
  for (const auto& [size, refill_ns] : {std::pair<uint64_t, uint64_t>{3, 1000 * kMs},
                                        {1'000'000'007, 7 * kMs},
                                        {4096, 1 * kMs},
                                        {1, 1 * kMs},
                                        {kMost, 1000 * kMs}}) {
    TokenBucket bucket({.size = size, .one_time_burst = 0, .refill_ns = refill_ns}, 0);
    uint64_t now = 0;
    long double taken = 0;
    while (now < 100 * refill_ns) {
      const auto wait = bucket.wait_ns(now);
      // Often before the time, as whoever is woken by something else.
      now += wait == 0 ? 0 : random() % 4 == 0 ? wait : random() % wait + 1;
      if (bucket.wait_ns(now) != 0) continue;
      const auto tokens = random() % (size / 3 + 1) + 1;
      bucket.take(tokens, now);
      taken += tokens;
      if (now == 0 && taken > 2.0L * size) break;
    }
    const auto allowed = static_cast<long double>(size) * (1 + static_cast<long double>(now) / refill_ns);
    EXPECT_LE(taken, allowed * 1.001L + static_cast<long double>(size) / 3 + 1) << size << " in " << refill_ns;
    EXPECT_GE(taken, allowed * 0.99L - 2.0L * size) << size << " in " << refill_ns;
  }
}

TEST(TokenBucketTest, TheLargestLimitsDoNotOverflow) {
  TokenBucket bucket({.size = 1, .one_time_burst = kMost, .refill_ns = kMost}, 0);
  bucket.take(kMost, 0);
  for (int times = 0; times < 5; ++times) bucket.take(UINT64_MAX, 1);
  EXPECT_EQ(bucket.level(1).budget, TokenBucket::kLeastBudget);
  EXPECT_EQ(bucket.wait_ns(1), 3'600'000'000'000u) << "an hour at a time";
  EXPECT_LT(bucket.level(UINT64_MAX).budget, 0);
  TokenBucket fast({.size = kMost, .one_time_burst = 0, .refill_ns = 1}, 0);
  fast.take(UINT64_MAX, 0);
  EXPECT_EQ(fast.wait_ns(4), 0u);
}

TEST(TokenBucketTest, AClockThatStandsStillGivesNothing) {
  TokenBucket bucket({.size = 10, .one_time_burst = 0, .refill_ns = 10 * kMs}, 100 * kMs);
  bucket.take(10, 100 * kMs);
  EXPECT_EQ(bucket.level(50 * kMs).budget, 0);
  EXPECT_EQ(bucket.level(101 * kMs).budget, 1);
}

TEST(TokenBucketTest, ALevelIsTakenWithinTheLimits) {
  TokenBucket bucket({.size = 10, .one_time_burst = 5, .refill_ns = 10 * kMs}, 0);
  bucket.set_level({.burst = 3, .budget = -20}, 100 * kMs);
  EXPECT_EQ(bucket.level(100 * kMs).burst, 3u);
  EXPECT_EQ(bucket.level(101 * kMs).budget, -19);
  bucket.set_level({.burst = 50, .budget = 99}, 0);
  EXPECT_EQ(bucket.level(0).burst, 5u);
  EXPECT_EQ(bucket.level(0).budget, 10);
  bucket.set_level({.burst = 0, .budget = INT64_MIN}, 0);
  EXPECT_EQ(bucket.level(0).budget, TokenBucket::kLeastBudget);
}

TEST(RateLimiterTest, TheTighterBucketDecides) {
  RateLimiter limiter(
      {.bytes = TokenBucket::Limits{1000, 0, 1000 * kMs}, .operations = TokenBucket::Limits{2, 0, 3'000'000 * kMs}});
  EXPECT_EQ(limiter.wait_ns(), 0u);
  limiter.take(100, 1);
  EXPECT_EQ(limiter.wait_ns(), 0u);
  limiter.take(100, 1);
  EXPECT_GT(limiter.wait_ns(), 1'000'000 * kMs);
  EXPECT_EQ(limiter.levels().operations->budget, 0);
  limiter.set_levels({.bytes = TokenBucket::Level{0, -1'000'000}, .operations = TokenBucket::Level{0, 2}});
  EXPECT_GT(limiter.wait_ns(), 500'000 * kMs);
}

TEST(RateLimiterTest, OneOfBothMayBeMissing) {
  RateLimiter limiter({.bytes = {}, .operations = TokenBucket::Limits{1, 0, 1'000'000 * kMs}});
  limiter.take(kMost, 1);
  EXPECT_FALSE(limiter.levels().bytes.has_value());
  limiter.set_levels({.bytes = TokenBucket::Level{1, 1}, .operations = {}});
  EXPECT_FALSE(limiter.levels().bytes.has_value());
  EXPECT_GT(limiter.wait_ns(), 0u);
}

TEST(RateLimiterTest, ManyThreadsTakeFromOne) {
  RateLimiter limiter({.bytes = TokenBucket::Limits{1'000'000, 0, 1'000'000'000 * kMs}, .operations = {}});
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      for (int times = 0; times < 1000; ++times) {
        limiter.wait_ns();
        limiter.take(10, 1);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(limiter.levels().bytes->budget, 960'000);
}

}  // namespace
}  // namespace tsvmm
