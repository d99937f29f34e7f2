#include "memory/image_index.h"

#include <zstd.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "sys/crc32c.h"

namespace tsvmm {

namespace {

static_assert(std::endian::native == std::endian::little, "words are copied as they are");

constexpr char kMagic[] = {'T', 'S', 'V', 'M', 'M', 'I', 'X', '1'};
// Far more than a host has, and small enough to count bytes of.
constexpr uint64_t kMaximumPages = 1ull << 40;
constexpr uint64_t kMaximumFrameBytes = ZSTD_COMPRESSBOUND(kSpanBytes);

struct Header {
  char magic[8];
  uint32_t form;
  uint32_t page_bytes;
  uint32_t span_pages;
  uint32_t reserved;
  uint64_t pages;
};
static_assert(sizeof(Header) == 32);

Failure broken(const char* what) { return {EBADMSG, what}; }

template <typename T>
void append(std::vector<std::byte>& out, std::span<const T> values) {
  const auto bytes = std::as_bytes(values);
  out.insert(out.end(), bytes.begin(), bytes.end());
}

// Copies whole values off the front; the caller knows that there are enough.
template <typename T>
void take(std::span<const std::byte>& bytes, std::span<T> values) {
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size_bytes());
  bytes = bytes.subspan(values.size_bytes());
}

uint64_t spans_with_data(const PageBitmap& data) {
  uint64_t spans = 0;
  for (uint64_t span = 0; span < data.spans(); ++span) spans += is_empty(data.span(span)) ? 0 : 1;
  return spans;
}

Result<> check_header(const Header& header) {
  if (header.form > static_cast<uint32_t>(ImageForm::kZstd)) return broken("memory index: unknown form");
  if (header.page_bytes != kPageBytes || header.span_pages != kSpanPages) return broken("memory index: page size");
  if (header.reserved != 0) return broken("memory index: reserved field");
  if (header.pages == 0 || header.pages > kMaximumPages) return broken("memory index: number of pages");
  return Unit{};
}

Result<> check_bitmaps(const PageBitmap& present, const PageBitmap& data) {
  if (present.has_bits_beyond_end() || data.has_bits_beyond_end()) return broken("memory index: pages beyond the end");
  for (uint64_t span = 0; span < data.spans(); ++span) {
    if (!is_empty(data.span(span) & ~present.span(span))) return broken("memory index: data of absent pages");
  }
  return Unit{};
}

}  // namespace

Result<ImageIndex> ImageIndex::parse(std::span<const std::byte> bytes) {
  Header header{};
  uint32_t expected = 0;
  if (bytes.size() < sizeof header + sizeof expected) return broken("memory index: too short");
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) return broken("memory index: not one (wrong magic)");
  std::memcpy(&expected, bytes.data() + bytes.size() - sizeof expected, sizeof expected);
  bytes = bytes.first(bytes.size() - sizeof expected);
  if (crc32c(bytes) != expected) return broken("memory index: checksum");
  bytes = bytes.subspan(sizeof header);
  if (auto checked = check_header(header); !checked) return checked.failure();
  const auto words = PageBitmap::word_count(header.pages);
  if (bytes.size() / (2 * sizeof(uint64_t)) < words) return broken("memory index: too short");

  ImageIndex index;
  index.form = static_cast<ImageForm>(header.form);
  index.present = PageBitmap(header.pages);
  index.data = PageBitmap(header.pages);
  take(bytes, index.present.words());
  take(bytes, index.data.words());
  if (auto checked = check_bitmaps(index.present, index.data); !checked) return checked.failure();
  if (index.form == ImageForm::kImage) {
    const auto data_pages = index.data.count();
    if (bytes.size() != data_pages * sizeof(uint32_t)) return broken("memory index: length of the checksums");
    index.checksums.resize(data_pages);
    take(bytes, std::span(index.checksums));
  } else {
    const auto frames = spans_with_data(index.data);
    if (bytes.size() != frames * sizeof(ImageFrame)) return broken("memory index: length of the frame table");
    index.frames.resize(frames);
    take(bytes, std::span(index.frames));
    for (const auto& frame : index.frames) {
      if (frame.bytes == 0 || frame.bytes > kMaximumFrameBytes) return broken("memory index: size of a frame");
      if (frame.offset > INT64_MAX - kMaximumFrameBytes) return broken("memory index: offset of a frame");
    }
  }
  index.rank();
  return index;
}

std::vector<std::byte> ImageIndex::encode() const {
  Header header{{}, static_cast<uint32_t>(form), kPageBytes, kSpanPages, 0, pages()};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  std::vector<std::byte> out;
  out.reserve(sizeof header + present.words().size_bytes() * 2 + checksums.size() * sizeof(uint32_t) +
              frames.size() * sizeof(ImageFrame) + sizeof(uint32_t));
  append(out, std::span<const Header>(&header, 1));
  append(out, present.words());
  append(out, data.words());
  append(out, std::span(checksums));
  append(out, std::span(frames));
  const auto checksum = crc32c(out);
  append(out, std::span<const uint32_t>(&checksum, 1));
  return out;
}

uint64_t ImageIndex::data_ordinal(uint64_t page) const {
  auto before = data.span(page / kSpanPages);
  const auto in_span = static_cast<unsigned>(page % kSpanPages);
  const auto last = in_span / kWordBits;
  before[last] &= (1ull << (in_span % kWordBits)) - 1;
  std::fill(before.begin() + last + 1, before.end(), 0);
  return data_ranks_[page / kSpanPages] + count(before);
}

void ImageIndex::rank() {
  data_ranks_.clear();
  frame_ranks_.clear();
  uint64_t data_pages = 0;
  uint64_t data_spans = 0;
  for (uint64_t span = 0; span < data.spans(); ++span) {
    data_ranks_.push_back(data_pages);
    frame_ranks_.push_back(data_spans);
    const auto pages_of_span = count(data.span(span));
    data_pages += pages_of_span;
    data_spans += pages_of_span == 0 ? 0 : 1;
  }
}

}  // namespace tsvmm
