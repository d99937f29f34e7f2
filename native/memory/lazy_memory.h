// Guest memory whose pages are not there yet. Knows of each page whether the saved contents are still wanted: they are
// not once the page has become present, nor once it was removed; such a page, if it is missing, is zero.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "memory/page_bitmap.h"
#include "memory/paging_space.h"
#include "memory/userfault.h"

namespace tsvmm {

struct PageFault {
  uint64_t page;  // of the image; the first one of its host page
  bool is_write;
  int thread;  // the one that waits
};

// Neighbouring host pages of one segment and what they hold, one kind for each; the bytes of kZero are undefined.
struct PageRun {
  uint64_t first_page = 0;
  std::span<const std::byte> bytes = {};
  std::span<const PageKind> kinds = {};
};

// Any thread.
class LazyMemory {
 public:
  // From now on whoever touches a missing page waits. Besides the failures of PagingSpace: EPERM where the host does
  // not allow it, EINVAL for memory that is a file, EBUSY for memory that somebody watches already.
  static Result<std::unique_ptr<LazyMemory>> create(std::shared_ptr<const RamMap> map);
  // Likewise, where only the contents of these pages are still wanted. What was there of them is thrown away. Of a huge
  // page all is wanted, or nothing. EINVAL for pages of other memory.
  static Result<std::unique_ptr<LazyMemory>> create(std::shared_ptr<const RamMap> map, const PageBitmap& wanted);

  const PagingSpace& space() const { return space_; }
  // To poll; valid until close().
  int descriptor() const { return userfault_.get(); }

  // The next fault, nothing where none waits. Somebody must call it whenever the descriptor is readable, also after
  // release(): who removes memory waits for that.
  std::optional<PageFault> take();
  // Whether all of them are.
  bool is_settled(uint64_t first, uint64_t end) const;
  uint64_t unsettled() const;
  // Those that are not.
  PageBitmap missing() const;

  // Makes the page of a fault present and wakes who waits: with `kind` and `bytes` (a host page) where its contents are
  // still wanted, with zeroes otherwise. Only for threads that call take(). Fails where the host is out of memory.
  Result<> answer(const PageFault& fault, PageKind kind, std::span<const std::byte> bytes);

  enum class Zeroes { kProvide, kSettle, kSettleAndWake };
  // Makes those pages of a run present that are still wanted, and returns how many image pages that were. Zero pages
  // are provided as well, or only settled: they are provided at the first touch then, where who has touched them
  // already is either answered in any case, or woken to touch them again. `reads_events`: this thread calls take() too.
  Result<uint64_t> settle(const PageRun& run, Zeroes zeroes, bool reads_events);

  // Wakes everybody; whatever is missing is zero from now on. Idempotent.
  void release();
  bool is_released() const;
  // Ends take() too; nobody may poll any more. Idempotent.
  void close();

 private:
  LazyMemory(PagingSpace space, Userfault userfault);

  void apply_removal(const UserfaultEvent& event);
  std::optional<PageFault> fault_of(const UserfaultEvent& event);
  void make_way(std::unique_lock<std::mutex>& lock, bool reads_events);
  bool is_set(uint64_t page) const { return (settled_[page / 64] >> (page % 64) & 1) != 0; }
  void set(uint64_t first, uint64_t count);

  const PagingSpace space_;
  const std::vector<std::byte> zeroes_;
  // Held while an event is read and while pages are made present: between the news that a page is removed and its
  // removal nobody can bring the saved contents back.
  mutable std::mutex mutex_;
  Userfault userfault_;
  std::vector<uint64_t> settled_;
  uint64_t unsettled_;
  std::deque<PageFault> backlog_;
  bool is_released_ = false;
};

}  // namespace tsvmm
