#include "kvm/throttle.h"

#include <unistd.h>

#include <csignal>

namespace tsvmm {

namespace {
// As long as QEMU's: short enough for a guest's clocks, long enough that leaving it costs little.
constexpr std::chrono::milliseconds kSlice{10};
}  // namespace

Throttle::~Throttle() {
  if (timer_) timer_delete(*timer_);
}

bool Throttle::make_timer(int signal) {
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = signal;
  event._sigev_un._tid = gettid();
  timer_t timer{};
  if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) return false;
  timer_ = timer;
  return true;
}

void Throttle::begin(int signal) {
  if (percent_ == 0 || until_ || (!timer_ && !make_timer(signal))) return;
  until_ = Clock::now() + kSlice;
  // Again and again: a signal that comes just before the guest is entered is of no use.
  const timespec slice{0, std::chrono::nanoseconds(kSlice).count()};
  const itimerspec times{slice, slice};
  timer_settime(*timer_, 0, &times, nullptr);
}

std::chrono::nanoseconds Throttle::pause() {
  if (!until_ || Clock::now() < *until_) return std::chrono::nanoseconds(0);
  until_.reset();
  const itimerspec never{};
  timer_settime(*timer_, 0, &never, nullptr);
  const unsigned percent = percent_;
  return std::chrono::nanoseconds(kSlice) * percent / (100 - percent);
}

}  // namespace tsvmm
