// What native threads have to tell JavaScript, in the order in which it came.
#pragma once

#include <napi.h>

#include <deque>
#include <functional>
#include <mutex>

#include "napi/notifier.h"

namespace tsvmm {

class EventQueue {
 public:
  using Event = std::function<void(Napi::Env)>;

  // `leave` is called where the environment goes before the queue was closed: it ends the threads that push.
  EventQueue(Napi::Env env, const char* name, std::function<void()> leave);
  ~EventQueue();
  EventQueue(const EventQueue&) = delete;
  EventQueue& operator=(const EventQueue&) = delete;

  // Any thread, until close(). Called on the JavaScript thread, soon, with a handle scope open.
  void push(Event event);
  // JavaScript thread: those that were not called yet are dropped. Idempotent.
  void close();
  // JavaScript thread: as of a Notifier.
  void keep_alive(bool on);

 private:
  static void leave_environment(void* self);
  void work(Napi::Env env);

  const Napi::Env env_;
  const std::function<void()> leave_;
  std::mutex mutex_;
  std::deque<Event> events_;  // guarded by mutex_
  bool is_closed_ = false;
  Notifier notifier_;
};

}  // namespace tsvmm
