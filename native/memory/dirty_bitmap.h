// Which pages of guest memory this process wrote. What vCPUs write is KVM's to know (kvm/dirty_tracking.cc).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "memory/page_bitmap.h"
#include "sys/result.h"

namespace tsvmm {

// One bit a page in image space (memory/page_bitmap.h).
// One thread at a time.
class DirtyPages {
 public:
  struct Range {
    uint64_t guest_address;
    uint64_t pages;
  };

  // Ascending, whole pages.
  explicit DirtyPages(std::vector<Range> ranges);

  // Sets what `bits` has set for `pages` pages from a guest address on; what of them is no RAM is left out.
  void merge(uint64_t guest_address, std::span<const uint64_t> bits, uint64_t pages);

  const std::vector<Range>& ranges() const { return ranges_; }
  uint64_t page_count() const { return page_count_; }
  bool has(uint64_t image_page) const { return (words_[image_page / 64] >> (image_page % 64) & 1) != 0; }
  // Bit n of word w is image page 64 w + n; bits behind the last page are clear.
  std::span<const uint64_t> words() const { return words_; }

 private:
  std::vector<Range> ranges_;
  uint64_t page_count_ = 0;
  std::vector<uint64_t> words_;
};

// Sets those of `count` bits in `target`, from bit `to` on, that are set in `source` from bit `from` on.
void merge_bits(std::span<uint64_t> target, uint64_t to, std::span<const uint64_t> source, uint64_t from,
                uint64_t count);

// mark() may be called by any thread; all else takes a lock.
class DirtyBitmap {
 public:
  DirtyBitmap() = default;
  DirtyBitmap(const DirtyBitmap&) = delete;
  DirtyBitmap& operator=(const DirtyBitmap&) = delete;

  // After the bytes were written, never before: a page that is taken in between would be lost. Off, it is one load.
  // What is no RAM is ignored.
  void mark(uint64_t guest_address, uint64_t length) const {
    // Only for the compiler. That the processor keeps write and look in order is what start() and take() see to.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (const auto* table = table_.load(std::memory_order_acquire)) table->mark(guest_address, length);
  }

  // From its return on no mark is missed. Nothing is dirty then but what was written while it began. EALREADY.
  Result<> start();
  void stop();
  bool is_on() const { return table_.load(std::memory_order_relaxed) != nullptr; }

  // Takes what was marked since the start or the last call; a page whose mark is still to come is in a later one. On
  // failure nothing was taken.
  Result<DirtyPages> take();
  // Gives back what was taken. Nothing while off.
  void put_back(const DirtyPages& pages) const;

  // In step with the guest's memory: whole pages, no overlap. A range that comes while on is dirty, all of it.
  void add_range(uint64_t guest_address, uint64_t size);
  void remove_range(uint64_t guest_address);

 private:
  using Words = std::vector<std::atomic<uint64_t>>;
  struct Range {
    uint64_t guest_address;
    uint64_t pages;
    std::shared_ptr<Words> words;  // allocated by the first start
  };
  // What mark() goes by; not changed any more.
  struct Table {
    explicit Table(std::vector<Range> its_ranges) : ranges(std::move(its_ranges)) {}
    const std::vector<Range> ranges;
    void mark(uint64_t guest_address, uint64_t length) const;
  };

  // With the mutex held.
  void publish();

  mutable std::mutex mutex_;
  std::vector<Range> ranges_;  // ascending
  bool on_ = false;
  std::atomic<const Table*> table_ = nullptr;
  // Every table there was: nobody knows when the last mark() has left one. There is one a start and one a change of
  // ranges while on; they are a few words, and a range's bitmap is used again.
  std::vector<std::unique_ptr<const Table>> tables_;
};

}  // namespace tsvmm
