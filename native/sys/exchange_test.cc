#include "sys/exchange.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace tsvmm {
namespace {

TEST(ExchangeTest, NamesSwapWhatTheyStandFor) {
  const std::filesystem::path place = std::filesystem::temp_directory_path() / ("exchange-" + std::to_string(getpid()));
  std::filesystem::create_directories(place / "one");
  std::ofstream(place / "other") << "text";
  ASSERT_TRUE(exchange_names(place / "one", place / "other"));
  EXPECT_TRUE(std::filesystem::is_directory(place / "other"));
  EXPECT_TRUE(std::filesystem::is_regular_file(place / "one"));
  const auto missing = exchange_names(place / "one", place / "none");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.failure().error, ENOENT);
  EXPECT_TRUE(std::filesystem::is_regular_file(place / "one"));
  std::filesystem::remove_all(place);
}

}  // namespace
}  // namespace tsvmm
