// That the pages of a machine cannot be had any more: told once, and then there is a limit to how long a thread that
// touched one of them waits.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <string>

namespace tsvmm {

// Any thread.
class PagingFailure {
 public:
  // `on_failure` is called by the thread that reports.
  PagingFailure(std::function<void(const std::string&)> on_failure, std::chrono::milliseconds grace)
      : on_failure_(std::move(on_failure)), grace_(grace) {}

  // The first one counts.
  void report(const std::string& reason) {
    auto none = Clock::rep{0};
    if (!deadline_.compare_exchange_strong(none, (Clock::now() + grace_).time_since_epoch().count())) return;
    on_failure_(reason);
  }
  bool is_overdue() const {
    const auto deadline = deadline_.load();
    return deadline != 0 && Clock::now().time_since_epoch().count() >= deadline;
  }
  // As poll() wants it.
  int remaining_ms() const {
    const auto deadline = deadline_.load();
    if (deadline == 0) return -1;
    const auto rest = Clock::duration(deadline) - Clock::now().time_since_epoch();
    const auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(rest).count();
    return milliseconds > 0 ? static_cast<int>(milliseconds) : 0;
  }

 private:
  using Clock = std::chrono::steady_clock;

  const std::function<void(const std::string&)> on_failure_;
  const std::chrono::milliseconds grace_;
  std::atomic<Clock::rep> deadline_ = 0;
};

}  // namespace tsvmm
