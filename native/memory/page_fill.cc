#include "memory/page_fill.h"

#include <cstring>

#include "memory/block_reader.h"

namespace tsvmm {

std::string describe_page_failure(uint64_t page, const Failure& failure) {
  return "page " + std::to_string(page) + " of the memory image: " + failure.operation + ": " +
         std::strerror(failure.error);
}

Result<> PagePrefetch::start(std::vector<uint32_t> list) {
  auto thread = Thread::start({"page-prefetch"}, [this, list = std::move(list)] { run(list); });
  if (!thread) return thread.failure();
  thread_.emplace(std::move(thread).value());
  return Unit{};
}

void PagePrefetch::cancel_and_join() {
  is_cancelled_ = true;
  if (thread_) thread_->join();
}

void PagePrefetch::run(const std::vector<uint32_t>& list) {
  BlockReader reader(memory_.space(), source_);
  for (const auto page : list) {
    if (is_cancelled_ || memory_.is_released()) return;
    const auto* segment = memory_.space().with_page(page);
    if (segment == nullptr || memory_.is_settled(page, page + 1)) continue;
    const auto run = reader.read(page);
    if (!run) continue;
    const auto zeroes = segment->is_anonymous ? LazyMemory::Zeroes::kProvide : LazyMemory::Zeroes::kSettle;
    if (const auto settled = memory_.settle(run.value(), zeroes, false)) pages_ += settled.value();
  }
}

PageFill::~PageFill() {
  cancel();
  join();
}

Result<> PageFill::start(uint64_t bytes_per_second, std::function<void(const FillEnd&)> on_end) {
  if (is_running_) return Failure{EBUSY, "fill guest memory"};
  thread_.reset();
  {
    std::lock_guard lock(mutex_);
    is_cancelled_ = false;
  }
  is_running_ = true;
  auto thread = Thread::start({"page-fill"}, [this, bytes_per_second, on_end = std::move(on_end)] {
    const auto end = run(bytes_per_second);
    is_running_ = false;
    on_end(end);
  });
  if (!thread) {
    is_running_ = false;
    return thread.failure();
  }
  thread_.emplace(std::move(thread).value());
  return Unit{};
}

void PageFill::cancel() {
  {
    std::lock_guard lock(mutex_);
    is_cancelled_ = true;
  }
  cancelled_.notify_all();
}

void PageFill::join() {
  if (thread_) thread_->join();
}

bool PageFill::pace(std::chrono::steady_clock::time_point until) {
  std::unique_lock lock(mutex_);
  // A wait costs a switch of threads even where its time has passed.
  if (std::chrono::steady_clock::now() >= until) return !is_cancelled_;
  return !cancelled_.wait_until(lock, until, [this] { return is_cancelled_; });
}

FillEnd PageFill::run(uint64_t bytes_per_second) {
  using std::chrono::steady_clock;
  BlockReader reader(memory_.space(), source_);
  const auto begin = steady_clock::now();
  uint64_t read_bytes = 0;
  for (uint64_t page = 0; page < memory_.space().pages();) {
    const auto seconds =
        bytes_per_second == 0 ? 0 : static_cast<double>(read_bytes) / static_cast<double>(bytes_per_second);
    const auto due = begin + std::chrono::duration_cast<steady_clock::duration>(std::chrono::duration<double>(seconds));
    if (!pace(due) || (memory_.is_released() && memory_.unsettled() != 0)) return {};
    if (const auto end = reader.end_of_block(page); memory_.is_settled(page, end)) {
      page = end;
      continue;
    }
    const auto run = reader.read(page);
    if (!run) return {.is_complete = false, .failure = describe_page_failure(page, run.failure())};
    const auto settled = memory_.settle(run.value(), LazyMemory::Zeroes::kSettle, false);
    if (!settled) return {.is_complete = false, .failure = describe_page_failure(page, settled.failure())};
    pages_ += settled.value();
    read_bytes += run.value().bytes.size();
    page = run.value().first_page + run.value().bytes.size() / kImagePageSize;
  }
  return {.is_complete = memory_.unsettled() == 0, .failure = {}};
}

}  // namespace tsvmm
