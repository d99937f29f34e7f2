#include "memory/paging_space.h"

#include <linux/magic.h>
#include <sys/vfs.h>

#include <algorithm>

#include "memory/mapping.h"

namespace tsvmm {

namespace {

constexpr uint64_t kLargestHostPage = 2ull << 20;

Result<uint64_t> host_page_size(const Mapping& mapping) {
  if (mapping.fd() < 0) return kImagePageSize;
  struct statfs status {};
  if (fstatfs(mapping.fd(), &status) != 0) return last_failure("fstatfs");
  return status.f_type == HUGETLBFS_MAGIC ? static_cast<uint64_t>(status.f_bsize) : kImagePageSize;
}

}  // namespace

Result<PagingSpace> PagingSpace::of(std::shared_ptr<const RamMap> map) {
  PagingSpace space;
  uint64_t first = 0;
  for (const auto& range : map->ranges()) {
    const auto page = host_page_size(*range.mapping);
    if (!page) return page.failure();
    if (page.value() > kLargestHostPage) return Failure{EOPNOTSUPP, "restore pages of 1 GiB on demand"};
    if ((reinterpret_cast<uintptr_t>(range.host) | range.size) % page.value() != 0) {
      return Failure{EINVAL, "restore a part of a huge page on demand"};
    }
    const auto pages = range.size / kImagePageSize;
    if (pages > UINT32_MAX - first) return Failure{EFBIG, "restore memory on demand"};
    space.segments_.push_back({.first_page = first,
                               .pages = pages,
                               .host = range.host,
                               .unit = page.value() / kImagePageSize,
                               .is_anonymous = range.mapping->fd() < 0});
    first += pages;
  }
  space.map_ = std::move(map);
  return space;
}

const PagingSegment* PagingSpace::with_page(uint64_t page) const {
  const auto next = std::ranges::upper_bound(segments_, page, {}, &PagingSegment::first_page);
  if (next == segments_.begin()) return nullptr;
  const auto& segment = *std::prev(next);
  return page < segment.end_page() ? &segment : nullptr;
}

const PagingSegment* PagingSpace::with_host(uint64_t address) const {
  for (const auto& segment : segments_) {
    const auto begin = reinterpret_cast<uintptr_t>(segment.host);
    if (address >= begin && address - begin < segment.pages * kImagePageSize) return &segment;
  }
  return nullptr;
}

}  // namespace tsvmm
