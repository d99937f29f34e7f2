#include "bus/posted_ring.h"

#include <gtest/gtest.h>

#include <thread>

namespace tsvmm {
namespace {

TEST(PostedRingTest, KeepsOrderAndRefusesWhatDoesNotFit) {
  PostedRing ring;
  PostedSequence sequence;
  for (uint32_t value = 0; value < PostedRing::kCapacity; ++value) ASSERT_TRUE(ring.push({1, 2, 4, value}, sequence));
  EXPECT_FALSE(ring.push({1, 2, 4, 0}, sequence));
  EXPECT_EQ(ring.front(), 0u);
  EXPECT_EQ(ring.size(), PostedRing::kCapacity);
  for (uint32_t value = 0; value < PostedRing::kCapacity; ++value) ASSERT_EQ(ring.pop()->value, value);
  EXPECT_FALSE(ring.pop());
  EXPECT_TRUE(ring.push({1, 2, 4, 0}, sequence));
}

TEST(PostedRingTest, TwoThreadsLoseNothing) {
  constexpr uint32_t kWrites = 100'000;
  PostedRing ring;
  PostedSequence sequence;
  std::jthread producer([&] {
    for (uint32_t value = 0; value < kWrites; ++value) {
      while (!ring.push({value, value, 1, value}, sequence)) ring.wait_for_room();
    }
  });
  for (uint32_t value = 0; value < kWrites;) {
    const auto write = ring.pop();
    if (!write) {
      std::this_thread::yield();
      continue;
    }
    ASSERT_EQ(write->value, value);
    ASSERT_EQ(write->window, value);
    ++value;
  }
}

}  // namespace
}  // namespace tsvmm
