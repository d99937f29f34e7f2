#include "io/rate_limiter.h"

#include <algorithm>
#include <chrono>

namespace tsvmm {

namespace {

// Whoever waits looks again after this time at the latest.
constexpr uint64_t kLongestWaitNs = 3'600'000'000'000;

__extension__ using Wide = unsigned __int128;

uint64_t scale(uint64_t value, uint64_t numerator, uint64_t denominator) {
  const auto result = static_cast<Wide>(value) * numerator / denominator;
  return static_cast<uint64_t>(std::min<Wide>(result, INT64_MAX));
}

uint64_t now_ns() {
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1));
}

}  // namespace

TokenBucket::TokenBucket(const Limits& limits, uint64_t now_ns)
    : limits_(limits),
      burst_(limits.one_time_burst),
      budget_(static_cast<int64_t>(limits.size)),
      refilled_until_ns_(now_ns) {}

uint64_t TokenBucket::time_for(uint64_t tokens) const { return scale(tokens, limits_.refill_ns, limits_.size); }

void TokenBucket::refill(uint64_t now_ns) {
  if (now_ns <= refilled_until_ns_) return;
  const auto elapsed = now_ns - refilled_until_ns_;
  const auto missing = static_cast<uint64_t>(static_cast<int64_t>(limits_.size) - budget_);
  const auto tokens = scale(elapsed, limits_.size, limits_.refill_ns);
  if (tokens >= missing) {
    budget_ = static_cast<int64_t>(limits_.size);
    refilled_until_ns_ = now_ns;
    return;
  }
  budget_ += static_cast<int64_t>(tokens);
  // Not to now: the time of the part of a token that is not there yet counts for the next.
  refilled_until_ns_ += time_for(tokens);
}

uint64_t TokenBucket::wait_ns(uint64_t now_ns) {
  if (burst_ > 0) return 0;
  refill(now_ns);
  if (budget_ > 0) return 0;
  // Whole tokens count: the division rounds down.
  const auto due = time_for(static_cast<uint64_t>(1 - budget_)) + 1;
  const auto elapsed = now_ns > refilled_until_ns_ ? now_ns - refilled_until_ns_ : 0;
  return std::clamp<uint64_t>(due > elapsed ? due - elapsed : 0, 1, kLongestWaitNs);
}

void TokenBucket::take(uint64_t tokens, uint64_t now_ns) {
  const auto from_burst = std::min(burst_, tokens);
  burst_ -= from_burst;
  tokens -= from_burst;
  if (tokens == 0) {
    // A bucket that is full does not fill.
    if (budget_ == static_cast<int64_t>(limits_.size)) refilled_until_ns_ = std::max(refilled_until_ns_, now_ns);
    return;
  }
  refill(now_ns);
  const auto most = static_cast<uint64_t>(budget_ - kLeastBudget);
  budget_ -= static_cast<int64_t>(std::min(tokens, most));
}

TokenBucket::Level TokenBucket::level(uint64_t now_ns) {
  refill(now_ns);
  return {burst_, budget_};
}

void TokenBucket::set_level(const Level& level, uint64_t now_ns) {
  burst_ = std::min(level.burst, limits_.one_time_burst);
  budget_ = std::clamp(level.budget, kLeastBudget, static_cast<int64_t>(limits_.size));
  refilled_until_ns_ = now_ns;
}

RateLimiter::RateLimiter(const Limits& limits) {
  const auto now = now_ns();
  if (limits.bytes) bytes_.emplace(*limits.bytes, now);
  if (limits.operations) operations_.emplace(*limits.operations, now);
}

uint64_t RateLimiter::wait_ns() {
  const auto now = now_ns();
  std::lock_guard lock(mutex_);
  return std::max(bytes_ ? bytes_->wait_ns(now) : 0, operations_ ? operations_->wait_ns(now) : 0);
}

void RateLimiter::take(uint64_t bytes, uint64_t operations) {
  const auto now = now_ns();
  std::lock_guard lock(mutex_);
  if (bytes_) bytes_->take(bytes, now);
  if (operations_) operations_->take(operations, now);
}

RateLimiter::Levels RateLimiter::levels() {
  const auto now = now_ns();
  std::lock_guard lock(mutex_);
  Levels levels;
  if (bytes_) levels.bytes = bytes_->level(now);
  if (operations_) levels.operations = operations_->level(now);
  return levels;
}

void RateLimiter::set_levels(const Levels& levels) {
  const auto now = now_ns();
  std::lock_guard lock(mutex_);
  if (bytes_ && levels.bytes) bytes_->set_level(*levels.bytes, now);
  if (operations_ && levels.operations) operations_->set_level(*levels.operations, now);
}

}  // namespace tsvmm
