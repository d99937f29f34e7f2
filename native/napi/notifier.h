// Brings work from native threads to the JavaScript thread.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>

namespace tsvmm {

// notify() from any thread makes `work` run once, soon, on the JavaScript thread with a handle scope open; calls made
// before it runs are merged into one. An exception that `work` leaves pending becomes an uncaught exception of the
// process.
class Notifier {
 public:
  Notifier(Napi::Env env, const char* name, std::function<void(Napi::Env)> work);
  ~Notifier();
  Notifier(const Notifier&) = delete;
  Notifier& operator=(const Notifier&) = delete;

  // Any thread, until close(). Cheap where a notification is pending already; returns false then.
  bool notify();
  // JavaScript thread. `work` does not run any more afterwards. Idempotent.
  void close();
  // JavaScript thread: whether a pending or future notification keeps the process alive (it does not, at first).
  void keep_alive(Napi::Env env, bool on);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace tsvmm
