#include "memory/image_space.h"

#include <algorithm>
#include <utility>

namespace tsvmm {

ImageSpace::ImageSpace(std::shared_ptr<const RamMap> map) : map_(std::move(map)) {
  for (const auto& range : map_->ranges()) {
    first_pages_.push_back(pages_);
    pages_ += range.size / kPageBytes;
  }
}

ImageSpace::Piece ImageSpace::at(uint64_t page, uint64_t count) const {
  const auto after = std::ranges::upper_bound(first_pages_, page);
  const auto index = static_cast<size_t>(after - first_pages_.begin()) - 1;
  const auto& range = map_->ranges()[index];
  const auto offset = page - first_pages_[index];
  return {range.host + offset * kPageBytes, std::min(count, range.size / kPageBytes - offset), range.mapping.get()};
}

std::optional<uint64_t> ImageSpace::page_of(const std::byte* host) const {
  const auto address = reinterpret_cast<uintptr_t>(host);
  for (size_t index = 0; index < first_pages_.size(); ++index) {
    const auto& range = map_->ranges()[index];
    const auto offset = address - reinterpret_cast<uintptr_t>(range.host);
    if (offset < range.size) return first_pages_[index] + offset / kPageBytes;
  }
  return {};
}

}  // namespace tsvmm
