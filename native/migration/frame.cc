#include "migration/frame.h"

#include <cstring>

#include "sys/crc32c.h"

namespace tsvmm {

namespace {

constexpr size_t kChecksumEnd = offsetof(FrameHeader, checksum) + sizeof(FrameHeader::checksum);

constexpr Failure bad(const char* what) { return {EBADMSG, what}; }

void store(std::span<std::byte> place, const SpanMask& mask) { std::memcpy(place.data(), mask.data(), sizeof mask); }

}  // namespace

std::span<std::byte> FrameWriter::contents() { return payload().subspan(kMasksBytes); }

Result<> FrameWriter::write_pages(uint64_t span, const PagesFrame& frame) {
  store(payload(), frame.data);
  store(payload().subspan(sizeof(SpanMask)), frame.zero);
  // Encoders write where it belongs.
  if (!frame.contents.empty() && frame.contents.data() != contents().data()) {
    std::memcpy(contents().data(), frame.contents.data(), frame.contents.size());
  }
  return write(FrameKind::kPages, frame.encoding, span, kMasksBytes + frame.contents.size());
}

Result<> FrameWriter::write_request(uint64_t pair, const PairMask& wanted) {
  store(payload(), wanted[0]);
  store(payload().subspan(sizeof(SpanMask)), wanted[1]);
  return write(FrameKind::kRequest, 0, 2 * pair, sizeof wanted);
}

Result<> FrameWriter::write_mark(FrameKind kind, uint64_t number) { return write(kind, 0, number, 0); }

Result<> FrameWriter::write(FrameKind kind, uint8_t encoding, uint64_t number, size_t payload_bytes) {
  FrameHeader header{.magic = kFrameMagic,
                     .checksum = 0,
                     .kind = kind,
                     .encoding = encoding,
                     .reserved = 0,
                     .payload_bytes = static_cast<uint32_t>(payload_bytes),
                     .sequence = sequence_++,
                     .number = number};
  std::memcpy(frame_.data(), &header, sizeof header);
  const auto frame = std::span(frame_).first(sizeof header + payload_bytes);
  header.checksum = crc32c(frame.subspan(kChecksumEnd));
  std::memcpy(frame_.data(), &header, sizeof header);
  return stream_.write(frame);
}

Result<std::optional<Frame>> FrameReader::read() {
  FrameHeader header;
  const auto head = std::span(frame_).first(sizeof header);
  const auto has_more = stream_.read_or_end(head);
  if (!has_more) return has_more.failure();
  if (!has_more.value()) return std::optional<Frame>();
  std::memcpy(&header, head.data(), sizeof header);
  if (header.magic != kFrameMagic) return bad("a frame begins with something else");
  if (header.payload_bytes > kLargestPayload) return bad("a frame is too long");
  if (const auto got = stream_.read(std::span(frame_).subspan(sizeof header, header.payload_bytes)); !got) {
    return got.failure();
  }
  const auto covered = std::span(frame_).first(sizeof header + header.payload_bytes).subspan(kChecksumEnd);
  if (crc32c(covered) != header.checksum) return bad("the checksum of a frame differs");
  if (header.sequence != sequence_++) return bad("a frame is missing or doubled");
  if (header.reserved != 0) return bad("a frame has unknown flags");
  auto judged = judge(header);
  if (!judged) return judged.failure();
  return std::optional<Frame>(judged.value());
}

Result<Frame> FrameReader::judge(const FrameHeader& header) {
  switch (header.kind) {
    case FrameKind::kPages:
      return judge_pages(header);
    case FrameKind::kEnd:
    case FrameKind::kApplied:
      if (header.payload_bytes != 0) return bad("a mark has a payload");
      return Frame{.kind = header.kind, .number = header.number, .pages = {}};
    case FrameKind::kRequest: {
      if (header.payload_bytes != sizeof(PairMask) || header.number % 2 != 0) return bad("a request is no pair");
      const PairMask wanted{mask_at(0), mask_at(sizeof(SpanMask))};
      for (unsigned index = 0; index < 2; ++index) {
        if (!is_empty(wanted[index] & ~pages_of(header.number + index))) {
          return bad("a request is for pages that there are not");
        }
      }
      return Frame{.kind = header.kind, .number = header.number, .pages = {}, .wanted = wanted};
    }
  }
  return bad("a frame is of an unknown kind");
}

Result<Frame> FrameReader::judge_pages(const FrameHeader& header) const {
  if (header.payload_bytes < kMasksBytes) return bad("a frame of pages has no masks");
  const PagesFrame pages{
      .data = mask_at(0),
      .zero = mask_at(sizeof(SpanMask)),
      .encoding = header.encoding,
      .contents = std::span(frame_).subspan(sizeof header + kMasksBytes, header.payload_bytes - kMasksBytes)};
  if (!is_empty((pages.data | pages.zero) & ~pages_of(header.number))) {
    return bad("a frame has pages that there are not");
  }
  if (!is_empty(pages.data & pages.zero)) return bad("a page is both zero and not");
  const auto bytes = count(pages.data) * kPageBytes;
  if ((pages.encoding & ~page_encoding::kAll) != 0) return bad("a frame is of an unknown encoding");
  if (pages.is_compressed()) {
    if (bytes == 0 || pages.contents.size() >= bytes) return bad("compressed pages are no smaller");
  } else if (pages.contents.size() != bytes) {
    return bad("a frame has not the contents of its pages");
  }
  return Frame{.kind = header.kind, .number = header.number, .pages = pages};
}

SpanMask FrameReader::pages_of(uint64_t span) const {
  SpanMask mask{};
  // Also for numbers that are far beyond: span * 256 could be anything.
  if (span >= PageBitmap::span_count(pages_)) return mask;
  const auto end = std::min<uint64_t>(kSpanPages, pages_ - span * kSpanPages);
  for (unsigned page = 0; page < end; ++page) set(mask, page);
  return mask;
}

SpanMask FrameReader::mask_at(size_t offset) const {
  SpanMask mask;
  std::memcpy(mask.data(), frame_.data() + sizeof(FrameHeader) + offset, sizeof mask);
  return mask;
}

}  // namespace tsvmm
