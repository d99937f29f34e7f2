// What the block, net and mailbox engines have in common: a set of workers between start and stop.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "memory/guest_memory.h"
#include "virtio/vring.h"
#include "virtio/worker.h"

namespace tsvmm {

struct EngineOptions {
  std::string name;
  std::shared_ptr<const GuestMemory> memory;
  // Both from workers' threads. `on_stopped`: the last worker has ended, finish() will not wait.
  Worker::OnFailure on_failure;
  std::function<void()> on_stopped;
};

// All methods belong to the owner's thread unless said otherwise.
class Engine {
 public:
  // Which ring was refused, and why; queue -1 where it was none of them.
  struct StartFailure {
    int queue;
    Failure failure;
  };
  using Counters = std::vector<std::pair<const char*, uint64_t>>;

  virtual ~Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Only while not running. After a failure nothing runs.
  std::optional<StartFailure> start(std::vector<Vring> vrings, uint64_t features);
  bool is_running() const { return !workers_.empty(); }
  // Returns at once; finish() then waits for what is in flight.
  void request_stop();
  std::vector<VringPosition> finish();

  virtual void set_mode(uint64_t value) = 0;
  virtual Counters counters() const = 0;

 protected:
  explicit Engine(EngineOptions options) : options_(std::move(options)) {}

  // Makes one worker after the other with add_worker().
  virtual std::optional<StartFailure> make_workers(std::vector<Vring> vrings, uint64_t features) = 0;
  void add_worker(std::unique_ptr<Worker> worker, std::string suffix);
  // The device's with a suffix of the thread's own, cut to what the kernel takes.
  std::string thread_name(const std::string& suffix) const;
  const EngineOptions& options() const { return options_; }
  const std::vector<std::unique_ptr<Worker>>& workers() const { return workers_; }

  // Called first in every derived destructor: workers use what the derived class owns.
  void shut_down();

 private:
  void worker_ended();

  EngineOptions options_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::string> suffixes_;
  std::atomic<size_t> running_ = 0;
};

}  // namespace tsvmm
