#include "memory/guest_memory.h"

#include <algorithm>

#include "memory/mapping.h"

namespace tsvmm {

namespace {
constexpr uint64_t kPageMask = 4095;
}

std::byte* RamMap::at(uint64_t address, uint64_t length) const {
  std::byte* host = nullptr;
  bool one_run = true;
  const std::byte* next = nullptr;
  const bool all_ram = for_each(address, length, [&](std::span<std::byte> piece) {
    if (host == nullptr) {
      host = piece.data();
    } else if (piece.data() != next) {
      one_run = false;
    }
    next = piece.data() + piece.size();
  });
  return all_ram && one_run ? host : nullptr;
}

std::shared_ptr<const RamMap> GuestMemory::map() const {
  std::lock_guard lock(mutex_);
  return map_;
}

Result<> GuestMemory::add(RamRange range) {
  const auto offset = static_cast<uint64_t>(range.host - range.mapping->host());
  if (range.size == 0 || ((range.guest_address | range.size | offset) & kPageMask) != 0 ||
      range.guest_address + range.size < range.guest_address || offset > range.mapping->size() ||
      range.size > range.mapping->size() - offset) {
    return Failure{EINVAL, "add guest memory"};
  }
  std::lock_guard lock(mutex_);
  auto ranges = map_->ranges();
  for (const auto& other : ranges) {
    if (range.guest_address < other.guest_address + other.size &&
        other.guest_address < range.guest_address + range.size) {
      return Failure{EEXIST, "add guest memory"};
    }
  }
  const auto place = std::ranges::upper_bound(ranges, range.guest_address, {}, &RamRange::guest_address);
  dirty_.add_range(range.guest_address, range.size);
  ranges.insert(place, std::move(range));
  map_ = std::make_shared<RamMap>(std::move(ranges));
  return Unit{};
}

Result<> GuestMemory::remove(uint64_t guest_address) {
  std::lock_guard lock(mutex_);
  auto ranges = map_->ranges();
  const auto removed =
      std::erase_if(ranges, [&](const RamRange& range) { return range.guest_address == guest_address; });
  if (removed == 0) return Failure{ENOENT, "remove guest memory"};
  dirty_.remove_range(guest_address);
  map_ = std::make_shared<RamMap>(std::move(ranges));
  return Unit{};
}

}  // namespace tsvmm
