#include "memory/block_reader.h"

#include <algorithm>
#include <cstring>

namespace tsvmm {

namespace {

// 64 KiB.
constexpr uint64_t kBlockPages = 16;

struct Block {
  uint64_t first;
  uint64_t end;
};

Block block_of(const PagingSegment& segment, uint64_t page) {
  if (segment.unit > 1) {
    const auto first = page - (page - segment.first_page) % segment.unit;
    return {first, first + segment.unit};
  }
  const auto first = page - page % kBlockPages;
  return {std::max(first, segment.first_page), std::min(first + kBlockPages, segment.end_page())};
}

uint64_t largest_block(const PagingSpace& space) {
  uint64_t largest = kBlockPages;
  for (const auto& segment : space.segments()) largest = std::max(largest, segment.unit);
  return largest;
}

}  // namespace

BlockReader::BlockReader(const PagingSpace& space, PageSource& source)
    : space_(space), source_(source), bytes_(largest_block(space) * kImagePageSize), kinds_(largest_block(space)) {}

uint64_t BlockReader::end_of_block(uint64_t page) const {
  const auto* segment = space_.with_page(page);
  return segment == nullptr ? page + 1 : block_of(*segment, page).end;
}

Result<PageRun> BlockReader::read(uint64_t page) {
  const auto* segment = space_.with_page(page);
  if (segment == nullptr) return Failure{EINVAL, "read a page that is not in the memory image"};
  const auto block = block_of(*segment, page);
  auto run = read_pages(*segment, block.first, block.end - block.first);
  if (!run && segment->unit == 1) run = read_pages(*segment, page, 1);
  return run;
}

Result<PageRun> BlockReader::read_pages(const PagingSegment& segment, uint64_t first, uint64_t count) {
  const auto bytes = std::span(bytes_).first(count * kImagePageSize);
  const auto kinds = std::span(kinds_).first(count);
  const auto read = source_.read_run(first, bytes, kinds);
  if (!read) return read.failure();
  if (segment.unit == 1) return PageRun{first, bytes, kinds};
  const bool is_zero = std::ranges::all_of(kinds, [](PageKind kind) { return kind == PageKind::kZero; });
  for (uint64_t index = 0; index < count && !is_zero; ++index) {
    if (kinds[index] == PageKind::kZero) std::memset(&bytes[index * kImagePageSize], 0, kImagePageSize);
  }
  kinds[0] = is_zero ? PageKind::kZero : PageKind::kData;
  return PageRun{first, bytes, kinds.first(1)};
}

}  // namespace tsvmm
