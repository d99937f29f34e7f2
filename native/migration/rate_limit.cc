#include "migration/rate_limit.h"

#include <algorithm>

namespace tsvmm {

namespace {
// What was not sent in time is sent later on, but not more than that of it.
constexpr std::chrono::milliseconds kBurst{20};
}  // namespace

void RateLimit::set(uint64_t bytes_per_second) {
  std::lock_guard lock(mutex_);
  bytes_per_second_ = bytes_per_second;
  paid_until_ = Clock::now();
  changed_.notify_all();
}

void RateLimit::take(uint64_t bytes) {
  std::unique_lock lock(mutex_);
  while (bytes_per_second_ != 0 && !is_ended_) {
    const auto now = Clock::now();
    if (paid_until_ > now) {
      changed_.wait_until(lock, paid_until_);
      continue;
    }
    const std::chrono::duration<double> cost(static_cast<double>(bytes) / static_cast<double>(bytes_per_second_));
    paid_until_ = std::max(paid_until_, now - kBurst) + std::chrono::duration_cast<Clock::duration>(cost);
    return;
  }
}

void RateLimit::end() {
  std::lock_guard lock(mutex_);
  is_ended_ = true;
  changed_.notify_all();
}

}  // namespace tsvmm
