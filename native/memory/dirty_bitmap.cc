#include "memory/dirty_bitmap.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

namespace tsvmm {

namespace {

constexpr uint64_t kBits = 64;

uint64_t words_for(uint64_t pages) { return (pages + kBits - 1) / kBits; }

// The lowest `count` bits, 1 to 64.
uint64_t low_bits(uint64_t count) { return ~uint64_t{0} >> (kBits - count); }

// A full barrier in every running thread of the process, so that mark() needs none of its own: it writes, then looks
// (at the table, at a bit); we write what it looks at, pass this barrier, then read what it wrote. Without it both
// could miss the other, as a processor may look before its own write is visible.
Result<> pass_barrier() {
  static const bool registered = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
  if (!registered) return Failure{ENOSYS, "membarrier"};
  if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) != 0) return last_failure("membarrier");
  return Unit{};
}

}  // namespace

void merge_bits(std::span<uint64_t> target, uint64_t to, std::span<const uint64_t> source, uint64_t from,
                uint64_t count) {
  while (count != 0) {
    const auto step = std::min({kBits - to % kBits, kBits - from % kBits, count});
    target[to / kBits] |= (source[from / kBits] >> (from % kBits) & low_bits(step)) << (to % kBits);
    to += step;
    from += step;
    count -= step;
  }
}

DirtyPages::DirtyPages(std::vector<Range> ranges) : ranges_(std::move(ranges)) {
  for (const auto& range : ranges_) page_count_ += range.pages;
  words_.resize(words_for(page_count_));
}

void DirtyPages::merge(uint64_t guest_address, std::span<const uint64_t> bits, uint64_t pages) {
  const auto first = guest_address / kPageBytes;
  uint64_t image_page = 0;
  for (const auto& range : ranges_) {
    const auto range_first = range.guest_address / kPageBytes;
    const auto from = std::max(first, range_first);
    const auto end = std::min(first + pages, range_first + range.pages);
    if (from < end) merge_bits(words_, image_page + (from - range_first), bits, from - first, end - from);
    image_page += range.pages;
  }
}

void DirtyBitmap::Table::mark(uint64_t guest_address, uint64_t length) const {
  if (length == 0) return;
  auto last_byte = guest_address + (length - 1);
  if (last_byte < guest_address) last_byte = UINT64_MAX;
  const auto first = guest_address / kPageBytes;
  const auto end = last_byte / kPageBytes + 1;
  for (const auto& range : ranges) {
    const auto range_first = range.guest_address / kPageBytes;
    const auto range_end = std::min(end, range_first + range.pages);
    for (auto page = std::max(first, range_first); page < range_end;) {
      const auto bit = page - range_first;
      const auto count = std::min(kBits - bit % kBits, range_end - page);
      const auto mask = low_bits(count) << (bit % kBits);
      auto& word = (*range.words)[bit / kBits];
      // Mostly they are set: rings and busy buffers are written again and again.
      if ((word.load(std::memory_order_relaxed) & mask) != mask) word.fetch_or(mask, std::memory_order_release);
      page += count;
    }
  }
}

void DirtyBitmap::publish() {
  tables_.push_back(std::make_unique<const Table>(ranges_));
  table_.store(tables_.back().get(), std::memory_order_release);
}

Result<> DirtyBitmap::start() {
  std::lock_guard lock(mutex_);
  if (on_) return Failure{EALREADY, "start tracking dirty pages"};
  for (auto& range : ranges_) {
    if (!range.words) range.words = std::make_shared<Words>(words_for(range.pages));
    for (auto& word : *range.words) word.store(0, std::memory_order_relaxed);
  }
  publish();
  on_ = true;
  auto passed = pass_barrier();
  if (!passed) {
    on_ = false;
    table_.store(nullptr, std::memory_order_release);
  }
  return passed;
}

void DirtyBitmap::stop() {
  std::lock_guard lock(mutex_);
  on_ = false;
  table_.store(nullptr, std::memory_order_release);
}

Result<DirtyPages> DirtyBitmap::take() {
  std::lock_guard lock(mutex_);
  if (!on_) return Failure{EINVAL, "take dirty pages"};
  std::vector<DirtyPages::Range> places;
  places.reserve(ranges_.size());
  for (const auto& range : ranges_) places.push_back({range.guest_address, range.pages});
  DirtyPages taken(std::move(places));
  std::vector<uint64_t> bits;
  for (const auto& range : ranges_) {
    bits.assign(range.words->size(), 0);
    for (size_t number = 0; number < bits.size(); ++number) {
      auto& word = (*range.words)[number];
      if (word.load(std::memory_order_relaxed) != 0) bits[number] = word.exchange(0, std::memory_order_acquire);
    }
    taken.merge(range.guest_address, bits, range.pages);
  }
  // Who found a bit set and left it alone wrote before it was taken; from here on that is to be seen.
  if (const auto passed = pass_barrier(); !passed) {
    put_back(taken);
    return passed.failure();
  }
  return taken;
}

void DirtyBitmap::put_back(const DirtyPages& pages) const {
  uint64_t image_page = 0;
  for (const auto& range : pages.ranges()) {
    for (uint64_t page = 0; page < range.pages; ++page, ++image_page) {
      if (pages.has(image_page)) mark(range.guest_address + page * kPageBytes, kPageBytes);
    }
  }
}

void DirtyBitmap::add_range(uint64_t guest_address, uint64_t size) {
  std::lock_guard lock(mutex_);
  const auto place = std::ranges::upper_bound(ranges_, guest_address, {}, &Range::guest_address);
  Range range{guest_address, size / kPageBytes, nullptr};
  if (on_) range.words = std::make_shared<Words>(words_for(range.pages));
  ranges_.insert(place, std::move(range));
  if (!on_) return;
  publish();
  table_.load(std::memory_order_relaxed)->mark(guest_address, size);
}

void DirtyBitmap::remove_range(uint64_t guest_address) {
  std::lock_guard lock(mutex_);
  std::erase_if(ranges_, [&](const Range& range) { return range.guest_address == guest_address; });
  if (on_) publish();
}

}  // namespace tsvmm
