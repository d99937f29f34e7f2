// Guest-physical memory as native code sees it: the one place where a guest address becomes a pointer.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "memory/dirty_bitmap.h"
#include "sys/result.h"

namespace tsvmm {

class Mapping;  // memory/mapping.h: owns an mmap; shared by whoever uses it

// One run of RAM. `host` points into `mapping`, which it keeps alive.
struct RamRange {
  uint64_t guest_address;
  uint64_t size;
  std::byte* host;
  std::shared_ptr<Mapping> mapping;
};

// An immutable picture of the address space, ascending and without overlap. Threads take one when they start and after
// each change of generation; pointers from it stay valid as long as they hold it.
class RamMap {
 public:
  explicit RamMap(std::vector<RamRange> ranges) : ranges_(std::move(ranges)) {}

  // The host bytes of [address, address + length), nullptr unless all of it is one run of RAM (adjacent ranges with
  // adjacent host memory are one run). Length 0 is nullptr. Overflow is nullptr.
  std::byte* at(uint64_t address, uint64_t length) const;

  // As at(), but in pieces where the range spans several runs: calls piece(std::span<std::byte>) for each in order.
  // False, having called nothing, unless all of it is RAM.
  template <typename Piece>
  bool for_each(uint64_t address, uint64_t length, Piece&& piece) const;

  const std::vector<RamRange>& ranges() const { return ranges_; }

 private:
  std::vector<RamRange> ranges_;
};

class GuestMemory {
 public:
  // Any thread. Never null.
  std::shared_ptr<const RamMap> map() const;

  // EEXIST where it overlaps, EINVAL where it is empty, unaligned to 4 KiB or outside the mapping.
  Result<> add(RamRange range);
  // ENOENT where nothing starts there.
  Result<> remove(uint64_t guest_address);

  // Whoever writes through a map marks it here afterwards.
  DirtyBitmap& dirty() { return dirty_; }
  const DirtyBitmap& dirty() const { return dirty_; }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const RamMap> map_ = std::make_shared<RamMap>(std::vector<RamRange>{});
  DirtyBitmap dirty_;
};

template <typename Piece>
bool RamMap::for_each(uint64_t address, uint64_t length, Piece&& piece) const {
  if (length == 0 || address + length < address) return false;
  auto end = address + length;
  auto covered = address;
  for (const auto& range : ranges_) {
    if (covered < range.guest_address) break;
    if (covered - range.guest_address < range.size) covered = range.guest_address + range.size;
    if (covered >= end) break;
  }
  if (covered < end) return false;
  for (const auto& range : ranges_) {
    if (address < range.guest_address || address - range.guest_address >= range.size) continue;
    auto offset = address - range.guest_address;
    auto bytes = range.size - offset < end - address ? range.size - offset : end - address;
    piece(std::span<std::byte>(range.host + offset, bytes));
    address += bytes;
    if (address == end) break;
  }
  return true;
}

}  // namespace tsvmm
