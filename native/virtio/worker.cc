#include "virtio/worker.h"

#include <csignal>
#include <utility>

namespace tsvmm {

namespace {
constexpr size_t kMaximumThreadName = 15;
}

Worker::~Worker() {
  // Derived classes join before their members go; a thread still running here would use them.
  if (launched_) std::abort();
}

Result<> Worker::launch(const std::string& thread_name, std::function<void()> ended) {
  thread_name_ = thread_name.substr(0, kMaximumThreadName);
  ended_ = std::move(ended);
  // Signals belong to the JavaScript thread and to vCPUs. A new thread inherits the mask.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const int error = pthread_create(&thread_, nullptr, &Worker::enter, this);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) return Failure{error, "pthread_create"};
  launched_ = true;
  return Unit{};
}

void* Worker::enter(void* self) {
  auto* worker = static_cast<Worker*>(self);
  pthread_setname_np(pthread_self(), worker->thread_name_.c_str());
  worker->run();
  worker->ended_();
  return nullptr;
}

void Worker::request_stop() {
  stopping_.store(true, std::memory_order_release);
  wake_.signal();
}

void Worker::join() {
  if (std::exchange(launched_, false)) pthread_join(thread_, nullptr);
}

}  // namespace tsvmm
