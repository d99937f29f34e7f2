#include "disk/file_areas.h"

#include <algorithm>

namespace tsvmm {

ImageResult<> FileAreas::check() {
  std::ranges::sort(areas_, {}, &Area::offset);
  for (size_t number = 1; number < areas_.size(); ++number) {
    const auto& before = areas_[number - 1];
    const auto& area = areas_[number];
    if (before.length <= area.offset - before.offset) continue;
    return ImageError{std::string(area.name) + " at " + hexadecimal(area.offset) + " overlaps " + before.name + " at " +
                      hexadecimal(before.offset)};
  }
  return Unit{};
}

void FileAreas::insert(const Area& area) {
  std::lock_guard lock(mutex_);
  areas_.insert(std::ranges::upper_bound(areas_, area.offset, {}, &Area::offset), area);
}

void FileAreas::remove(uint64_t offset) {
  std::lock_guard lock(mutex_);
  const auto found = std::ranges::lower_bound(areas_, offset, {}, &Area::offset);
  if (found != areas_.end() && found->offset == offset) areas_.erase(found);
}

const char* FileAreas::find(uint64_t offset, uint64_t length) const {
  std::lock_guard lock(mutex_);
  auto next = std::ranges::upper_bound(areas_, offset, {}, &Area::offset);
  if (next != areas_.end() && next->offset - offset < length) return next->name;
  if (next == areas_.begin()) return nullptr;
  --next;
  return offset - next->offset < next->length ? next->name : nullptr;
}

}  // namespace tsvmm
