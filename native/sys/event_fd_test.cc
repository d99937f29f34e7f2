#include "sys/event_fd.h"

#include <gtest/gtest.h>

namespace tsvmm {
namespace {

TEST(EventFdTest, SignalsAreCountedUntilDrained) {
  const auto event = EventFd::create();
  ASSERT_TRUE(event);
  EXPECT_FALSE(event.value().is_pending());
  EXPECT_FALSE(event.value().drain());
  event.value().signal();
  event.value().signal();
  EXPECT_TRUE(event.value().is_pending());
  EXPECT_TRUE(event.value().is_pending()) << "a look does not consume";
  EXPECT_TRUE(event.value().drain());
  EXPECT_FALSE(event.value().is_pending());
}

TEST(EventFdTest, AFullCounterStaysPendingAndDoesNotBlock) {
  const auto event = EventFd::create();
  const uint64_t most = UINT64_MAX - 1;
  ASSERT_EQ(::write(event.value().get(), &most, sizeof(most)), static_cast<ssize_t>(sizeof(most)));
  event.value().signal();
  EXPECT_TRUE(event.value().drain());
}

}  // namespace
}  // namespace tsvmm
