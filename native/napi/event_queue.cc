#include "napi/event_queue.h"

#include <utility>

#include "napi/exceptions.h"

namespace tsvmm {

EventQueue::EventQueue(Napi::Env env, const char* name, std::function<void()> leave)
    : env_(env), leave_(std::move(leave)), notifier_(env, name, [this](Napi::Env now) { work(now); }) {
  // Runs before the notifier's own end: hooks run in the reverse order.
  napi_add_env_cleanup_hook(env, &EventQueue::leave_environment, this);
}

EventQueue::~EventQueue() { close(); }

void EventQueue::leave_environment(void* self) {
  auto& queue = *static_cast<EventQueue*>(self);
  // The hook is gone by now.
  queue.is_closed_ = true;
  queue.leave_();
  queue.notifier_.close();
}

void EventQueue::push(Event event) {
  {
    std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
  }
  notifier_.notify();
}

void EventQueue::work(Napi::Env env) {
  for (;;) {
    Event event;
    {
      std::lock_guard lock(mutex_);
      if (events_.empty()) return;
      event = std::move(events_.front());
      events_.pop_front();
    }
    // One that fails is nobody else's failure.
    event(env);
    report_uncaught(env);
    if (is_closed_) return;
  }
}

void EventQueue::close() {
  if (is_closed_) return;
  is_closed_ = true;
  napi_remove_env_cleanup_hook(env_, &EventQueue::leave_environment, this);
  notifier_.close();
  std::lock_guard lock(mutex_);
  events_.clear();
}

void EventQueue::keep_alive(bool on) { notifier_.keep_alive(env_, on); }

}  // namespace tsvmm
