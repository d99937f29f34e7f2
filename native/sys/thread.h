// A native thread. All methods belong to whoever owns the object.
#pragma once

#include <pthread.h>

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "sys/result.h"

namespace tsvmm {

struct ThreadOptions {
  // Cut to 15 bytes, as the kernel does.
  std::string name;
  // Where it may run; anywhere where empty. EINVAL where none of them is online.
  std::vector<unsigned> host_cpus = {};
  // Of all signals that can be meant for the process, the only one it takes; 0: none.
  int signal = 0;
};

// Joined at the latest when the object goes.
class Thread {
 public:
  static Result<Thread> start(ThreadOptions options, std::function<void()> body);

  Thread(Thread&& other) noexcept;
  Thread& operator=(Thread&&) = delete;
  ~Thread() { join(); }

  // Idempotent.
  void join();
  Result<> set_host_cpus(std::span<const unsigned> host_cpus) const;
  void send(int signal) const;

 private:
  explicit Thread(pthread_t thread) : thread_(thread), is_joinable_(true) {}

  pthread_t thread_;
  bool is_joinable_;
};

}  // namespace tsvmm
