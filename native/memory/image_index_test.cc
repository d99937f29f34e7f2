#include "memory/image_index.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <random>

#include "sys/crc32c.h"

namespace tsvmm {
namespace {

constexpr uint64_t kPages = 1000;
constexpr size_t kHeaderBytes = 32;
constexpr size_t kBitmapBytes = 16 * sizeof(uint64_t);
using Bytes = std::vector<std::byte>;

ImageIndex sample(ImageForm form) {
  std::mt19937_64 random(7);
  ImageIndex index;
  index.form = form;
  index.present = PageBitmap(kPages);
  index.data = PageBitmap(kPages);
  for (uint64_t page = 0; page < kPages; ++page) {
    if (page / kSpanPages == 2 || random() % 3 == 0) continue;
    index.present.set(page);
    if (random() % 2 == 0) index.data.set(page);
  }
  if (form == ImageForm::kImage) {
    for (uint64_t count = index.data.count(); count > 0; --count) index.checksums.push_back(random() & UINT32_MAX);
  } else {
    for (uint32_t frame = 0; frame < 3; ++frame) index.frames.push_back({1000 - 100 * frame, 100 + frame, frame});
  }
  index.rank();
  return index;
}

// Makes a changed index one that only its contents can give away.
Bytes sealed(Bytes bytes) {
  const auto checksum = crc32c(std::span(bytes).first(bytes.size() - sizeof(uint32_t)));
  std::memcpy(bytes.data() + bytes.size() - sizeof checksum, &checksum, sizeof checksum);
  return bytes;
}

void expect_consistent(const ImageIndex& index) {
  uint64_t data_pages = 0;
  uint64_t data_spans = 0;
  for (uint64_t page = 0; page < index.pages(); ++page) {
    if (!index.data.test(page)) continue;
    ASSERT_TRUE(index.present.test(page));
    ASSERT_EQ(index.data_ordinal(page), data_pages++);
  }
  for (uint64_t span = 0; span < index.spans(); ++span) {
    if (is_empty(index.data.span(span))) continue;
    ASSERT_EQ(index.frame_ordinal(span), data_spans++);
  }
  const bool is_image = index.form == ImageForm::kImage;
  ASSERT_EQ(index.checksums.size(), is_image ? data_pages : 0);
  ASSERT_EQ(index.frames.size(), is_image ? 0 : data_spans);
}

class ImageIndexTest : public testing::TestWithParam<ImageForm> {};
INSTANTIATE_TEST_SUITE_P(Image, ImageIndexTest, testing::Values(ImageForm::kImage, ImageForm::kZstd));

TEST_P(ImageIndexTest, ComesBackAsItWas) {
  const auto index = sample(GetParam());
  const auto parsed = ImageIndex::parse(index.encode());
  ASSERT_TRUE(parsed) << parsed.failure().operation;
  expect_consistent(parsed.value());
  EXPECT_EQ(parsed.value().encode(), index.encode());
  EXPECT_EQ(parsed.value().pages(), kPages);
}

TEST_P(ImageIndexTest, NoFlippedBitAndNoTruncationPasses) {
  const auto good = sample(GetParam()).encode();
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    auto bytes = good;
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    ASSERT_FALSE(ImageIndex::parse(bytes)) << bit;
  }
  for (size_t length = 0; length < good.size(); ++length) {
    ASSERT_FALSE(ImageIndex::parse(std::span(good).first(length))) << length;
  }
}

TEST_P(ImageIndexTest, WhateverHasAGoodChecksumIsConsistentOrRefused) {
  std::mt19937_64 random(11);
  const auto good = sample(GetParam()).encode();
  unsigned taken = 0;
  for (int round = 0; round < 20'000; ++round) {
    auto bytes = good;
    for (auto flips = 1 + random() % 3; flips > 0; --flips) {
      // The header and the frame table as often as the long bitmaps.
      const auto place = random() % 2 == 0 ? random() % kHeaderBytes : random() % bytes.size();
      bytes[place] ^= static_cast<std::byte>(1u << random() % 8);
    }
    if (random() % 4 == 0) bytes.resize(sizeof(uint32_t) + random() % bytes.size());
    const auto parsed = ImageIndex::parse(sealed(std::move(bytes)));
    if (!parsed) {
      ASSERT_EQ(parsed.failure().error, EBADMSG);
      continue;
    }
    ++taken;
    expect_consistent(parsed.value());
  }
  EXPECT_GT(taken, 0u);
}

struct Wrong {
  const char* message;
  std::function<void(Bytes&)> make;
};

void expect_refused(ImageForm form, const std::vector<Wrong>& cases) {
  for (const auto& [message, make] : cases) {
    auto bytes = sample(form).encode();
    make(bytes);
    const auto parsed = ImageIndex::parse(sealed(std::move(bytes)));
    ASSERT_FALSE(parsed) << message;
    EXPECT_STREQ(parsed.failure().operation, message);
  }
}

auto put(size_t offset, uint64_t value) {
  return [=](Bytes& bytes) { std::memcpy(bytes.data() + offset, &value, sizeof value); };
}
auto put_byte(size_t offset, uint8_t value) {
  return [=](Bytes& bytes) { bytes[offset] = std::byte{value}; };
}

TEST(ImageIndexMessageTest, SaysWhatIsWrong) {
  constexpr size_t kFrames = kHeaderBytes + 2 * kBitmapBytes;
  expect_refused(ImageForm::kZstd,
                 {
                     {"memory index: not one (wrong magic)", put_byte(0, 'X')},
                     {"memory index: unknown form", put_byte(8, 2)},
                     {"memory index: page size", put_byte(12, 1)},
                     {"memory index: page size", put_byte(16, 1)},
                     {"memory index: reserved field", put_byte(20, 1)},
                     {"memory index: number of pages", put(24, 0)},
                     {"memory index: number of pages", put(24, UINT64_MAX)},
                     {"memory index: too short", put(24, 1ull << 40)},
                     {"memory index: pages beyond the end", put_byte(kHeaderBytes + kBitmapBytes - 1, 0x80)},
                     {"memory index: data of absent pages", put_byte(kFrames - kBitmapBytes, 0xff)},
                     {"memory index: offset of a frame", put(kFrames, UINT64_MAX - 10)},
                     {"memory index: size of a frame", put(kFrames + 8, 0)},
                     {"memory index: size of a frame", put(kFrames + 8, UINT32_MAX)},
                     {"memory index: length of the frame table", [](Bytes& bytes) { bytes.resize(bytes.size() + 1); }},
                 });
  expect_refused(ImageForm::kImage,
                 {
                     {"memory index: length of the checksums", [](Bytes& bytes) { bytes.resize(bytes.size() + 4); }},
                     {"memory index: length of the checksums", [](Bytes& bytes) { bytes.resize(bytes.size() - 4); }},
                 });
}

}  // namespace
}  // namespace tsvmm
