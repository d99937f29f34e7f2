// What goes over a connection that carries memory (docs/migration-protocol.md, "Memory"): frames, each a header and a
// payload, little-endian, nothing in them trusted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "memory/page_bitmap.h"
#include "migration/rest_pages.h"
#include "migration/stream.h"
#include "sys/result.h"

namespace tsvmm {

enum class FrameKind : uint8_t {
  kPages = 1,    // number: a span; masks and contents follow
  kEnd = 2,      // number: a pass, of which nothing comes any more over this connection
  kApplied = 3,  // back: everything up to the end of pass `number` is in memory
  kRequest = 4,  // number: a span, an even one; masks of the pages of it and the next that somebody waits for follow
};

// Of the contents of a kPages: one, both or none of them.
namespace page_encoding {
inline constexpr uint8_t kZstd = 1;
inline constexpr uint8_t kDelta = 2;  // the pages XOR what the receiver has of them, and then kZstd
inline constexpr uint8_t kAll = kZstd | kDelta;
}  // namespace page_encoding

struct FrameHeader {
  uint32_t magic;
  uint32_t checksum;  // CRC-32C of the rest of the header and the payload
  FrameKind kind;
  uint8_t encoding;   // of a kPages
  uint16_t reserved;  // 0
  uint32_t payload_bytes;
  uint64_t sequence;  // of this direction of this connection, from 0
  uint64_t number;
};
static_assert(sizeof(FrameHeader) == 32);

inline constexpr uint32_t kFrameMagic = 0x314d5654;  // "TVM1"
// Of a kPages: which pages of the span have contents, which are zero.
inline constexpr size_t kMasksBytes = 2 * sizeof(SpanMask);
inline constexpr size_t kLargestPayload = kMasksBytes + kSpanBytes;
inline constexpr size_t kLargestFrame = sizeof(FrameHeader) + kLargestPayload;

struct PagesFrame {
  SpanMask data{};
  SpanMask zero{};
  uint8_t encoding = 0;
  std::span<const std::byte> contents = {};  // of the data pages, one after the other

  bool is_compressed() const { return (encoding & page_encoding::kZstd) != 0; }
  bool is_delta() const { return (encoding & page_encoding::kDelta) != 0; }
};

// Writes frames, one thread.
class FrameWriter {
 public:
  explicit FrameWriter(Stream& stream) : stream_(stream) {}

  // Where the contents of a kPages go: as many bytes as a span has.
  std::span<std::byte> contents();
  // Those are the first `bytes` of contents().
  Result<> write_pages(uint64_t span, const PagesFrame& frame);
  Result<> write_request(uint64_t pair, const PairMask& wanted);
  Result<> write_mark(FrameKind kind, uint64_t number);
  // Of a kPages with so much in it.
  static constexpr size_t frame_bytes(size_t contents) { return sizeof(FrameHeader) + kMasksBytes + contents; }

 private:
  Result<> write(FrameKind kind, uint8_t encoding, uint64_t number, size_t payload_bytes);
  std::span<std::byte> payload() { return std::span(frame_).subspan(sizeof(FrameHeader)); }

  Stream& stream_;
  std::vector<std::byte> frame_ = std::vector<std::byte>(kLargestFrame);
  uint64_t sequence_ = 0;
};

struct Frame {
  FrameKind kind;
  uint64_t number;
  PagesFrame pages;   // kPages
  PairMask wanted{};  // kRequest
};

// Reads them, one thread.
class FrameReader {
 public:
  // Spans of `pages` pages. What is no frame, and none that this memory has, is EBADMSG.
  FrameReader(Stream& stream, uint64_t pages) : stream_(stream), pages_(pages) {}

  // Valid until the next call; nothing where the stream ends between two frames.
  Result<std::optional<Frame>> read();

 private:
  Result<Frame> judge(const FrameHeader& header);
  Result<Frame> judge_pages(const FrameHeader& header) const;
  SpanMask pages_of(uint64_t span) const;
  SpanMask mask_at(size_t offset) const;

  Stream& stream_;
  const uint64_t pages_;
  std::vector<std::byte> frame_ = std::vector<std::byte>(kLargestFrame);
  uint64_t sequence_ = 0;
};

}  // namespace tsvmm
