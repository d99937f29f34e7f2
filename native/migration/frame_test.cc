#include "migration/frame.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "migration/testing/transfer.h"
#include "sys/crc32c.h"

namespace tsvmm::testing {
namespace {

constexpr uint64_t kPages = 300;

SpanMask mask_of(std::initializer_list<unsigned> pages) {
  SpanMask mask{};
  for (const auto page : pages) set(mask, page);
  return mask;
}

// What a writer has sent, to be looked at and changed.
std::vector<std::byte> written(const std::function<void(FrameWriter&)>& write) {
  auto [one, other] = socket_pair();
  {
    auto stream = stream_of(std::move(one));
    FrameWriter writer(stream);
    write(writer);
  }
  std::vector<std::byte> bytes(1 << 16);
  bytes.resize(static_cast<size_t>(recv(other.get(), bytes.data(), bytes.size(), MSG_WAITALL)));
  return bytes;
}

// The bytes of one frame with another header, or payload, and the checksum that belongs to them.
std::vector<std::byte> changed(std::vector<std::byte> bytes, const std::function<void(FrameHeader&)>& change) {
  FrameHeader header;
  std::memcpy(&header, bytes.data(), sizeof header);
  change(header);
  std::memcpy(bytes.data(), &header, sizeof header);
  header.checksum = crc32c(std::span(bytes).subspan(8));
  std::memcpy(bytes.data(), &header, sizeof header);
  return bytes;
}

Result<std::optional<Frame>> read_of(std::span<const std::byte> bytes) {
  auto [one, other] = socket_pair();
  EXPECT_EQ(send(one.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  one.reset();
  auto stream = stream_of(std::move(other));
  FrameReader reader(stream, kPages);
  for (;;) {
    const auto frame = reader.read();
    if (!frame || !frame.value()) return frame;
  }
}

std::vector<std::byte> some_pages() {
  return written([](FrameWriter& writer) {
    std::vector<std::byte> contents(2 * kPageBytes, std::byte{7});
    ASSERT_TRUE(writer.write_pages(1, {.data = mask_of({0, 43}), .zero = mask_of({1}), .contents = contents}));
  });
}

TEST(FrameTest, FramesComeAsTheyWere) {
  auto [one, other] = socket_pair();
  auto sending = stream_of(std::move(one));
  auto receiving = stream_of(std::move(other));
  FrameWriter writer(sending);
  FrameReader reader(receiving, kPages);
  std::vector<std::byte> contents(2 * kPageBytes, std::byte{7});
  ASSERT_TRUE(writer.write_pages(1, {.data = mask_of({0, 43}), .zero = mask_of({1}), .contents = contents}));
  ASSERT_TRUE(writer.write_request(0, {mask_of({255}), mask_of({43})}));
  ASSERT_TRUE(writer.write_mark(FrameKind::kEnd, 1ull << 60));
  sending.cut();
  auto frame = *reader.read().value();
  EXPECT_EQ(frame.kind, FrameKind::kPages);
  EXPECT_EQ(frame.number, 1u);
  EXPECT_EQ(frame.pages.data, mask_of({0, 43}));
  EXPECT_EQ(frame.pages.zero, mask_of({1}));
  EXPECT_TRUE(std::ranges::equal(frame.pages.contents, contents));
  frame = *reader.read().value();
  EXPECT_EQ(frame.kind, FrameKind::kRequest);
  EXPECT_EQ(frame.wanted, (PairMask{mask_of({255}), mask_of({43})}));
  frame = *reader.read().value();
  EXPECT_EQ(frame.number, 1ull << 60);
  EXPECT_FALSE(reader.read().value());
}

TEST(FrameTest, EveryFlippedBitIsFound) {
  const auto whole = some_pages();
  ASSERT_TRUE(read_of(whole));
  std::mt19937_64 random(42);
  for (size_t index = 0; index < 400; ++index) {
    auto bytes = whole;
    const auto place = index < 2 * 32 * 8 ? index % (96 * 8) : random() % (bytes.size() * 8);
    bytes[place / 8] ^= std::byte{1} << (place % 8);
    const auto read = read_of(bytes);
    ASSERT_FALSE(read) << place;
    // A length that is too large lets the reader wait for more.
    EXPECT_TRUE(read.failure().error == EBADMSG || read.failure().error == ECONNRESET);
  }
}

TEST(FrameTest, AFrameThatIsCutIsNoFrame) {
  const auto whole = some_pages();
  for (const size_t length : {1ul, 31ul, 32ul, 95ul, whole.size() - 1}) {
    EXPECT_EQ(read_of(std::span(whole).first(length)).failure().error, ECONNRESET);
  }
}

TEST(FrameTest, FramesComeOnceAndInOrder) {
  const auto one = some_pages();
  auto twice = one;
  twice.insert(twice.end(), one.begin(), one.end());
  EXPECT_EQ(read_of(twice).failure().error, EBADMSG);
}

TEST(FrameTest, WhatNoSenderWritesIsRefused) {
  const auto pages = some_pages();
  const auto mark = written([](FrameWriter& writer) { ASSERT_TRUE(writer.write_mark(FrameKind::kEnd, 1)); });
  const auto request = written([](FrameWriter& writer) { ASSERT_TRUE(writer.write_request(0, {mask_of({1})})); });
  const auto refused = [](const std::vector<std::byte>& bytes, const std::function<void(FrameHeader&)>& change) {
    const auto read = read_of(changed(bytes, change));
    ASSERT_FALSE(read);
    EXPECT_EQ(read.failure().error, EBADMSG);
  };
  refused(pages, [](auto& header) { header.magic ^= 1; });
  refused(pages, [](auto& header) { header.reserved = 1; });
  refused(pages, [](auto& header) { header.kind = static_cast<FrameKind>(9); });
  refused(pages, [](auto& header) { header.encoding = 4; });
  // Compressed to what they have anyway.
  refused(pages, [](auto& header) { header.encoding = page_encoding::kZstd; });
  refused(pages, [](auto& header) { header.payload_bytes = kLargestPayload + 1; });
  // Page 43 of span 1 is the last of the memory.
  refused(pages, [](auto& header) { header.number = 2; });
  refused(pages, [](auto& header) { header.number = UINT64_MAX; });
  refused(mark, [](auto& header) { header.kind = FrameKind::kRequest; });
  refused(mark, [](auto& header) { header.kind = FrameKind::kPages; });
  refused(request, [](auto& header) { header.kind = FrameKind::kApplied; });
  refused(request, [](auto& header) { header.number = 1; });
  refused(request, [](auto& header) { header.number = 2; });
  auto both = pages;
  both[sizeof(FrameHeader) + sizeof(SpanMask)] |= std::byte{1};
  refused(both, [](auto&) {});
  auto beyond = pages;
  beyond[sizeof(FrameHeader) + 5] |= std::byte{1 << 4};
  refused(beyond, [](auto&) {});
  auto fewer = pages;
  fewer[sizeof(FrameHeader)] = std::byte{0};
  refused(fewer, [](auto&) {});
}

}  // namespace
}  // namespace tsvmm::testing
