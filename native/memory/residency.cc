#include "memory/residency.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "memory/mapping.h"

namespace tsvmm {

namespace {

// Documentation/admin-guide/mm/pagemap.rst: a u64 a page; bit 62 swapped, bit 63 present. Both clear: never touched, or
// given back.
constexpr uint64_t kTouched = 3ull << 62;
// Bit 61: the page of a file; what was written privately is no longer one.
constexpr uint64_t kOfFile = 1ull << 61;

void set_pages(SpanMask& mask, uint64_t first, uint64_t count) {
  for (auto page = first; page < first + count; ++page) set(mask, static_cast<unsigned>(page));
}

// Those of which `is_in` says so by their entry in the page map.
template <typename IsIn>
void add_by_entry(SpanMask& mask, int pagemap, unsigned first, const ImageSpace::Piece& piece, IsIn&& is_in) {
  std::array<uint64_t, kSpanPages> entries{};
  const auto bytes = piece.pages * sizeof(uint64_t);
  const auto offset = reinterpret_cast<uintptr_t>(piece.host) / kPageBytes * sizeof(uint64_t);
  const bool known = pread(pagemap, entries.data(), bytes, static_cast<off_t>(offset)) == static_cast<ssize_t>(bytes);
  for (unsigned page = 0; page < piece.pages; ++page) {
    if (!known || is_in(entries[page])) set(mask, first + page);
  }
}

bool is_touched(uint64_t entry) { return (entry & kTouched) != 0; }
bool is_written(uint64_t entry) { return is_touched(entry) && (entry & kOfFile) == 0; }

void add_allocated(SpanMask& mask, unsigned first, const ImageSpace::Piece& piece) {
  const auto begin = static_cast<uint64_t>(piece.host - piece.mapping->host());
  const auto end = begin + piece.pages * kPageBytes;
  const auto fd = piece.mapping->fd();
  for (auto position = begin; position < end;) {
    const auto data = lseek(fd, static_cast<off_t>(position), SEEK_DATA);
    if (data < 0 && errno == ENXIO) return;
    const auto hole = data < 0 ? data : lseek(fd, data, SEEK_HOLE);
    const auto data_begin = hole < 0 ? position : std::min(static_cast<uint64_t>(data), end);
    const auto data_end = hole < 0 ? end : std::min(static_cast<uint64_t>(hole), end);
    const auto first_page = (data_begin - begin) / kPageBytes;
    const auto end_page = (data_end - begin + kPageBytes - 1) / kPageBytes;
    set_pages(mask, first + first_page, end_page - first_page);
    position = data_end;
  }
}

void add_contents(SpanMask& mask, const PageBitmap& contents, unsigned first, const ImageSpace::Piece& piece) {
  const auto in_mapping = static_cast<uint64_t>(piece.host - piece.mapping->host()) / kPageBytes;
  for (unsigned page = 0; page < piece.pages; ++page) {
    if (contents.test(in_mapping + page)) set(mask, first + page);
  }
}

}  // namespace

Residency::Residency() : pagemap_(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)) {}

SpanMask Residency::touched(const ImageSpace& space, uint64_t span, const SpanMask& wanted) const {
  const auto first = span * kSpanPages;
  SpanMask touched{};
  space.for_each_piece(first, std::min<uint64_t>(kSpanPages, space.pages() - first), [&](uint64_t page, auto piece) {
    const auto in_span = static_cast<unsigned>(page - first);
    if (const auto contents = piece.mapping->contents()) add_contents(touched, *contents, in_span, piece);
    switch (piece.mapping->untouched()) {
      case Mapping::Untouched::kNotInPageTable:
        if (pagemap_.is_open()) return add_by_entry(touched, pagemap_.get(), in_span, piece, is_touched);
        break;
      case Mapping::Untouched::kHole:
        return add_allocated(touched, in_span, piece);
      case Mapping::Untouched::kUnknown:
        break;
    }
    set_pages(touched, in_span, piece.pages);
  });
  return touched & wanted;
}

SpanMask Residency::written(const ImageSpace& space, uint64_t span, const SpanMask& wanted) const {
  const auto first = span * kSpanPages;
  SpanMask written{};
  space.for_each_piece(first, std::min<uint64_t>(kSpanPages, space.pages() - first), [&](uint64_t page, auto piece) {
    const auto in_span = static_cast<unsigned>(page - first);
    const bool is_known = pagemap_.is_open() && piece.mapping->contents() != nullptr &&
                          piece.mapping->untouched() == Mapping::Untouched::kNotInPageTable;
    if (is_known) return add_by_entry(written, pagemap_.get(), in_span, piece, is_written);
    set_pages(written, in_span, piece.pages);
  });
  return written & wanted;
}

}  // namespace tsvmm
