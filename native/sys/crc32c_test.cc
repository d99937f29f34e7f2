#include "sys/crc32c.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string_view>
#include <vector>

namespace tsvmm {
namespace {

TEST(ImageChecksumTest, IsTheCastagnoliOne) {
  const std::string_view digits = "123456789";
  EXPECT_EQ(crc32c(std::as_bytes(std::span(digits))), 0xe3069283u);
  EXPECT_EQ(crc32c_portable(std::as_bytes(std::span(digits))), 0xe3069283u);
  const std::vector<std::byte> zeroes(32);  // RFC 3720 appendix B.4
  EXPECT_EQ(crc32c(zeroes), 0x8a9136aau);
}

TEST(ImageChecksumTest, BothWaysAgreeOnEveryLength) {
  std::mt19937 random(1);
  std::vector<std::byte> bytes(300);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  for (size_t length = 0; length <= bytes.size(); ++length) {
    const auto part = std::span<const std::byte>(bytes).last(length);
    EXPECT_EQ(crc32c(part), crc32c_portable(part)) << length;
  }
}

}  // namespace
}  // namespace tsvmm
