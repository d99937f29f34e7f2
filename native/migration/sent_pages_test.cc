#include "migration/sent_pages.h"

#include <gtest/gtest.h>

#include <cstring>

namespace tsvmm {
namespace {

bool remember(SentPages& sent, uint64_t span, unsigned page, int value) {
  auto* place = sent.place(span, page);
  if (place != nullptr) std::memset(place, value, kPageBytes);
  return place != nullptr;
}

TEST(SentPagesTest, WhatWasPlacedIsFound) {
  SentPages sent(16 * kPageBytes);
  EXPECT_EQ(sent.find(1, 2), nullptr);
  ASSERT_TRUE(remember(sent, 1, 2, 7));
  EXPECT_EQ(sent.find(1, 3), nullptr);
  ASSERT_NE(sent.find(1, 2), nullptr);
  EXPECT_EQ(sent.find(1, 2)[4095], std::byte{7});
  sent.forget(1, 2);
  EXPECT_EQ(sent.find(1, 2), nullptr);
  ASSERT_TRUE(remember(sent, 1, 2, 8));
  sent.clear();
  EXPECT_EQ(sent.find(1, 2), nullptr);
}

TEST(SentPagesTest, WhatIsFullStaysAsItIsForTwoPasses) {
  SentPages sent(4 * kPageBytes);
  for (unsigned page = 0; page < 4; ++page) ASSERT_TRUE(remember(sent, page / 2, page, 1));
  EXPECT_FALSE(remember(sent, 5, 0, 1));
  sent.begin_pass();
  EXPECT_FALSE(remember(sent, 5, 0, 1));
  // Span 1 is sent again, span 0 is not.
  ASSERT_TRUE(remember(sent, 1, 2, 1));
  sent.begin_pass();
  ASSERT_TRUE(remember(sent, 5, 0, 1));
  ASSERT_TRUE(remember(sent, 5, 1, 1));
  EXPECT_FALSE(remember(sent, 5, 2, 1));
  EXPECT_EQ(sent.find(0, 0), nullptr);
  EXPECT_NE(sent.find(1, 2), nullptr);
}

TEST(SentPagesTest, NothingIsKeptWhereThereIsNoRoom) {
  SentPages sent(0);
  EXPECT_FALSE(remember(sent, 0, 0, 1));
  EXPECT_EQ(sent.find(0, 0), nullptr);
}

}  // namespace
}  // namespace tsvmm
