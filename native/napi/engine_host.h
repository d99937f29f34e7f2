// The JavaScript side of an engine: options in, callbacks out, and the promise of stop().
#pragma once

#include <napi.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "napi/notifier.h"
#include "virtio/engine.h"

namespace tsvmm {

// All methods belong to the JavaScript thread unless said otherwise. The engine is stopped before the environment goes.
class EngineHost {
 public:
  // `work` runs on the JavaScript thread some time after each notify(), while the engine is running.
  EngineHost(Napi::Env env, Napi::Object options, std::function<void(Napi::Env)> work);
  ~EngineHost();
  EngineHost(const EngineHost&) = delete;
  EngineHost& operator=(const EngineHost&) = delete;

  // Name, memory and callbacks for the engine; nothing where an argument was wrong (it has thrown then).
  std::optional<EngineOptions> read_options(Napi::Object options);
  void adopt(std::unique_ptr<Engine> engine) { engine_ = std::move(engine); }

  // Any thread.
  void notify() { notifier_.notify(); }
  // Any thread: for the options' onFault().
  void report_fault(std::string reason);
  Napi::Object options() const { return options_.Value(); }

  void start(const Napi::CallbackInfo& info, Napi::ObjectReference self);
  void set_mode(const Napi::CallbackInfo& info);
  Napi::Value stop(const Napi::CallbackInfo& info);
  Napi::Value counters(const Napi::CallbackInfo& info);
  void close(Napi::Env env);
  // Throws where it is not.
  bool is_open(Napi::Env env) const;
  // Between start() and stop() or close().
  bool is_running() const { return engine_ != nullptr && engine_->is_running() && !stopping_; }

 private:
  void work(Napi::Env env);
  // To a callback of the options: onFailure() with a queue, onFault() without.
  struct Report {
    std::optional<uint16_t> queue;
    std::string reason;
  };
  void add_report(Report report);
  bool deliver_reports(Napi::Env env);
  void end_stop(Napi::Env env);
  void shut_down();
  static void leave_environment(void* self);

  Napi::Env env_;
  Napi::ObjectReference options_;
  std::function<void(Napi::Env)> work_;
  std::unique_ptr<Engine> engine_;
  std::optional<Napi::Promise::Deferred> stopping_;
  Napi::ObjectReference stop_promise_;  // its handle in `stopping_` does not outlive the call that made it
  Napi::ObjectReference self_;          // while running: a running engine is not collected

  std::mutex mutex_;  // guards those below
  std::vector<Report> reports_;
  bool stopped_ = false;

  Notifier notifier_;
};

// Options that a virtqueue engine of any kind takes.
std::optional<std::vector<Vring>> read_vrings(Napi::Value value);
// A bigint of up to 64 bits.
std::optional<uint64_t> read_features(Napi::Value value);

}  // namespace tsvmm
