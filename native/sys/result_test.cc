#include "sys/result.h"

#include <gtest/gtest.h>

#include <memory>

namespace tsvmm {
namespace {

Result<std::unique_ptr<int>> half_of(int number) {
  if (number % 2 != 0) return Failure{EINVAL, "halve"};
  return std::make_unique<int>(number / 2);
}

TEST(ResultTest, AValueCanBeMovedOut) {
  auto result = half_of(8);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(*std::move(result).value(), 4);
}

TEST(ResultTest, AFailureKeepsErrorAndOperation) {
  const auto result = half_of(7);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.failure().error, EINVAL);
  EXPECT_STREQ(result.failure().operation, "halve");
}

TEST(ResultTest, LastFailureTakesErrno) {
  errno = EBUSY;
  const auto failure = last_failure("open");
  errno = 0;
  EXPECT_EQ(failure.error, EBUSY);
}

}  // namespace
}  // namespace tsvmm
