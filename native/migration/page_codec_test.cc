#include "migration/page_codec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>

namespace tsvmm {
namespace {

class PageCodecTest : public ::testing::Test {
 protected:
  // A frame of the first pages of a span.
  PagesFrame frame_of(size_t pages, size_t bytes) {
    PagesFrame frame{.encoding = page_encoding::kZstd, .contents = std::span<const std::byte>(place_).first(bytes)};
    for (unsigned page = 0; page < pages; ++page) set(frame.data, page);
    return frame;
  }
  std::vector<std::byte> noise(size_t pages) {
    std::vector<std::byte> bytes(pages * kPageBytes);
    for (auto& byte : bytes) byte = static_cast<std::byte>(random_());
    return bytes;
  }

  std::mt19937_64 random_{42};
  std::vector<std::byte> place_ = std::vector<std::byte>(kSpanBytes);
  PageEncoder encoder_;
  PageDecoder decoder_;
};

TEST_F(PageCodecTest, PagesComeBackAtEveryLevel) {
  for (const size_t pages : {1ul, 17ul, 256ul}) {
    for (int level = kLowestPageLevel; level <= 9; level += 4) {
      auto bytes = noise(pages);
      for (size_t page = 0; page < pages; ++page) {
        std::fill_n(bytes.begin() + static_cast<ptrdiff_t>(page * kPageBytes), kPageBytes / 2, std::byte{3});
      }
      const auto encoded = encoder_.encode(bytes, level, place_).value();
      ASSERT_NE(encoded, 0u);
      EXPECT_LT(encoded, bytes.size() * 6 / 10);
      EXPECT_TRUE(std::ranges::equal(decoder_.decode(frame_of(pages, encoded)).value(), bytes));
    }
  }
}

TEST_F(PageCodecTest, NoiseIsLeftAsItIs) {
  for (const size_t pages : {1ul, 256ul}) {
    const auto bytes = noise(pages);
    EXPECT_EQ(encoder_.encode(bytes, 1, place_).value(), 0u);
  }
}

TEST_F(PageCodecTest, ChangesOfNoiseAreSmall) {
  for (const int level : {-5, 1, 3}) {
    const auto before = noise(256);
    auto after = before;
    for (size_t page = 0; page < 256; ++page) after[page * kPageBytes + page * 16] ^= std::byte{1};
    auto changes = after;
    xor_pages(changes, before);
    const auto encoded = encoder_.encode(changes, level, place_).value();
    EXPECT_GT(encoded, 0u);
    EXPECT_LT(encoded, 256u * 12) << level;
    const auto decoded = decoder_.decode(frame_of(256, encoded)).value();
    changes.assign(decoded.begin(), decoded.end());
    xor_pages(changes, before);
    EXPECT_TRUE(changes == after);
  }
}

TEST_F(PageCodecTest, WhatCannotBeReadIsRefused) {
  std::vector<std::byte> bytes(16 * kPageBytes, std::byte{1});
  const auto encoded = encoder_.encode(bytes, 1, place_).value();
  // More, and less, than the frame says that it has.
  EXPECT_EQ(decoder_.decode(frame_of(15, encoded)).failure().error, EBADMSG);
  EXPECT_EQ(decoder_.decode(frame_of(17, encoded)).failure().error, EBADMSG);
  EXPECT_EQ(decoder_.decode(frame_of(16, encoded - 1)).failure().error, EBADMSG);
  for (int round = 0; round < 2000; ++round) {
    const auto size = 1 + random_() % 200;
    for (size_t index = 0; index < size; ++index) place_[index] = static_cast<std::byte>(random_());
    // The magic number of zstd, so that more is read than that.
    const uint32_t magic = 0xfd2fb528;
    if (round % 2 == 0 && size > 4) std::memcpy(place_.data(), &magic, sizeof magic);
    const auto decoded = decoder_.decode(frame_of(16, size));
    if (!decoded) {
      EXPECT_EQ(decoded.failure().error, EBADMSG);
    }
  }
  // It reads what is right afterwards.
  const auto again = encoder_.encode(bytes, 1, place_).value();
  EXPECT_TRUE(std::ranges::equal(decoder_.decode(frame_of(16, again)).value(), bytes));
}

}  // namespace
}  // namespace tsvmm
