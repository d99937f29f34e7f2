#include "memory/lazy_memory.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "memory/mapping.h"

namespace tsvmm {

namespace {

// How long whoever changes the address space is given before another attempt.
constexpr std::chrono::microseconds kRetryAfter{50};

uint64_t largest_unit(const PagingSpace& space) {
  uint64_t largest = 1;
  for (const auto& segment : space.segments()) largest = std::max(largest, segment.unit);
  return largest;
}

// Calls each(first, pages, is_wanted) for every run of neighbouring host pages of which something is wanted, or
// nothing.
template <typename Each>
void for_each_stretch(const PagingSegment& segment, const PageBitmap& wanted, Each&& each) {
  const auto is_wanted = [&](uint64_t host_page) {
    for (auto page = host_page; page < host_page + segment.unit; ++page) {
      if (wanted.test(page)) return true;
    }
    return false;
  };
  for (auto page = segment.first_page; page < segment.end_page();) {
    const auto first = page;
    const bool wants = is_wanted(first);
    while (page < segment.end_page() && is_wanted(page) == wants) page += segment.unit;
    each(first, page - first, wants);
  }
}

std::span<std::byte> memory_of(const PagingSegment& segment) { return {segment.host, segment.pages * kImagePageSize}; }

}  // namespace

LazyMemory::LazyMemory(PagingSpace space, Userfault userfault)
    : space_(std::move(space)),
      zeroes_(largest_unit(space_) * kImagePageSize),
      userfault_(std::move(userfault)),
      settled_((space_.pages() + 63) / 64),
      unsettled_(space_.pages()) {}

Result<std::unique_ptr<LazyMemory>> LazyMemory::create(std::shared_ptr<const RamMap> map) {
  auto space = PagingSpace::of(std::move(map));
  if (!space) return space.failure();
  auto userfault = Userfault::open();
  if (!userfault) return userfault.failure();
  for (const auto& segment : space.value().segments()) {
    // What is watched so far is given up with the descriptor.
    if (auto watched = userfault.value().watch(memory_of(segment)); !watched) return watched.failure();
  }
  return std::unique_ptr<LazyMemory>(new LazyMemory(std::move(space).value(), std::move(userfault).value()));
}

Result<std::unique_ptr<LazyMemory>> LazyMemory::create(std::shared_ptr<const RamMap> map, const PageBitmap& wanted) {
  auto space = PagingSpace::of(map);
  if (!space) return space.failure();
  if (wanted.pages() != space.value().pages()) return Failure{EINVAL, "pages of other memory"};
  const auto& segments = space.value().segments();
  // Before it is watched: who throws away what is watched waits until that is read.
  for (size_t index = 0; index < segments.size(); ++index) {
    auto& mapping = *map->ranges()[index].mapping;
    Result<> discarded = Unit{};
    for_each_stretch(segments[index], wanted, [&](uint64_t first, uint64_t pages, bool is_wanted) {
      if (!is_wanted || !discarded) return;
      const auto offset = static_cast<uint64_t>(segments[index].at(first) - mapping.host());
      discarded = mapping.discard(offset, pages * kImagePageSize);
    });
    if (!discarded) return discarded.failure();
  }
  auto created = create(std::move(map));
  if (!created) return created;
  for (const auto& segment : segments) {
    for_each_stretch(segment, wanted, [&](uint64_t first, uint64_t pages, bool is_wanted) {
      if (!is_wanted) created.value()->set(first, pages);
    });
  }
  return created;
}

std::optional<PageFault> LazyMemory::take() {
  std::lock_guard lock(mutex_);
  if (!backlog_.empty()) {
    const auto fault = backlog_.front();
    backlog_.pop_front();
    return fault;
  }
  if (!userfault_.is_open()) return {};
  while (const auto event = userfault_.event()) {
    if (const auto fault = fault_of(*event)) return fault;
  }
  return {};
}

// Nothing for an event that is no fault; it is done with then.
std::optional<PageFault> LazyMemory::fault_of(const UserfaultEvent& event) {
  if (event.kind == UserfaultEvent::Kind::kRemove) {
    apply_removal(event);
    return {};
  }
  const auto* segment = space_.with_host(event.address);
  if (segment == nullptr) return {};
  const auto offset = (event.address - reinterpret_cast<uintptr_t>(segment->host)) / kImagePageSize;
  return PageFault{segment->first_page + offset / segment->unit * segment->unit, event.is_write, event.thread};
}

void LazyMemory::apply_removal(const UserfaultEvent& event) {
  for (const auto& segment : space_.segments()) {
    const auto host = reinterpret_cast<uintptr_t>(segment.host);
    const auto begin = std::max(event.address, host);
    const auto end = std::min(event.address + event.length, host + segment.pages * kImagePageSize);
    if (begin < end) set(segment.first_page + (begin - host) / kImagePageSize, (end - begin) / kImagePageSize);
  }
}

void LazyMemory::set(uint64_t first, uint64_t count) {
  for (auto page = first; page < first + count; ++page) {
    if (is_set(page)) continue;
    settled_[page / 64] |= 1ull << (page % 64);
    --unsettled_;
  }
}

bool LazyMemory::is_settled(uint64_t first, uint64_t end) const {
  std::lock_guard lock(mutex_);
  for (auto page = first; page < end; ++page) {
    if (!is_set(page)) return false;
  }
  return true;
}

PageBitmap LazyMemory::missing() const {
  std::lock_guard lock(mutex_);
  PageBitmap missing(space_.pages());
  for (uint64_t page = 0; page < space_.pages(); ++page) {
    if (!is_set(page)) missing.set(page);
  }
  return missing;
}

uint64_t LazyMemory::unsettled() const {
  std::lock_guard lock(mutex_);
  return unsettled_;
}

// Pages cannot be made present while somebody waits for his event to be read.
void LazyMemory::make_way(std::unique_lock<std::mutex>& lock, bool reads_events) {
  if (reads_events) {
    if (const auto event = userfault_.event()) {
      if (const auto fault = fault_of(*event)) backlog_.push_back(*fault);
      return;
    }
  }
  lock.unlock();
  std::this_thread::sleep_for(kRetryAfter);
  lock.lock();
}

Result<> LazyMemory::answer(const PageFault& fault, PageKind kind, std::span<const std::byte> bytes) {
  const auto* segment = space_.with_page(fault.page);
  if (segment == nullptr) return Unit{};
  const auto memory = std::span(segment->at(fault.page), segment->unit * kImagePageSize);
  std::unique_lock lock(mutex_);
  while (!is_released_) {
    const bool is_zero = kind == PageKind::kZero || is_set(fault.page);
    uint64_t done = 0;
    auto provided = Provided::kAll;
    if (!is_zero) {
      provided = userfault_.copy(memory.data(), bytes, done);
    } else if (segment->unit == 1 && !fault.is_write) {
      provided = userfault_.zero(memory, done);
    } else {
      // One page of its own at once, as a write to the shared page of zeroes is a fault again; huge pages have none.
      provided = userfault_.copy(memory.data(), std::span(zeroes_).first(memory.size()), done);
    }
    if (provided == Provided::kFailed) return last_failure("provide a page of guest memory");
    if (provided == Provided::kGone) return Unit{};
    if (provided == Provided::kRetry) {
      make_way(lock, true);
      continue;
    }
    if (provided == Provided::kPresent) userfault_.wake(memory);
    set(fault.page, segment->unit);
    return Unit{};
  }
  return Unit{};
}

Result<uint64_t> LazyMemory::settle(const PageRun& run, Zeroes zeroes, bool reads_events) {
  const auto* segment = space_.with_page(run.first_page);
  if (segment == nullptr) return uint64_t{0};
  const auto unit = segment->unit;
  const auto page_at = [&](size_t index) { return run.first_page + index * unit; };
  uint64_t made_present = 0;
  std::unique_lock lock(mutex_);
  for (size_t index = 0; index < run.kinds.size() && !is_released_;) {
    const auto kind = run.kinds[index];
    size_t count = 0;
    while (index + count < run.kinds.size() && run.kinds[index + count] == kind && !is_set(page_at(index + count))) {
      ++count;
    }
    if (count == 0) {
      ++index;
      continue;
    }
    if (kind == PageKind::kZero && (zeroes != Zeroes::kProvide || unit != 1)) {
      set(page_at(index), count * unit);
      if (zeroes == Zeroes::kSettleAndWake) {
        userfault_.wake({segment->at(page_at(index)), count * unit * kImagePageSize});
      }
      index += count;
      continue;
    }
    const auto page_bytes = unit * kImagePageSize;
    auto* host = segment->at(page_at(index));
    uint64_t done = 0;
    const auto provided = kind == PageKind::kData
                              ? userfault_.copy(host, run.bytes.subspan(index * page_bytes, count * page_bytes), done)
                              : userfault_.zero({host, count * page_bytes}, done);
    if (provided == Provided::kFailed) return last_failure("provide a page of guest memory");
    if (provided == Provided::kGone) break;
    set(page_at(index), done / kImagePageSize);
    made_present += done / kImagePageSize;
    index += done / page_bytes;
    if (provided == Provided::kRetry) make_way(lock, reads_events);
    if (provided == Provided::kPresent) set(page_at(index++), unit);
  }
  return made_present;
}

void LazyMemory::release() {
  std::lock_guard lock(mutex_);
  if (is_released_) return;
  is_released_ = true;
  for (const auto& segment : space_.segments()) userfault_.unwatch(memory_of(segment));
}

bool LazyMemory::is_released() const {
  std::lock_guard lock(mutex_);
  return is_released_;
}

void LazyMemory::close() {
  release();
  std::lock_guard lock(mutex_);
  userfault_.close();
}

}  // namespace tsvmm
