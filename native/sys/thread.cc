#include "sys/thread.h"

#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <climits>
#include <utility>

namespace tsvmm {

namespace {

// Linux numbers no more (CONFIG_NR_CPUS), so that a wrong number does not become a huge mask.
constexpr unsigned kMaximumCpus = 1u << 16;

struct Start {
  ThreadOptions options;
  std::function<void()> body;
};

// Signals meant for the process are for its own threads to handle.
void block_signals(int except) {
  sigset_t blocked;
  sigfillset(&blocked);
  if (except != 0) sigdelset(&blocked, except);
  // Synchronous faults must stay fatal where they happen.
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS}) sigdelset(&blocked, fault);
  pthread_sigmask(SIG_SETMASK, &blocked, nullptr);
}

void* enter(void* argument) {
  const std::unique_ptr<Start> start(static_cast<Start*>(argument));
  block_signals(start->options.signal);
  pthread_setname_np(pthread_self(), start->options.name.substr(0, 15).c_str());
  start->body();
  return nullptr;
}

// A cpu_set_t as large as it must be: the fixed one ends at 1024. Empty where a number is out of range.
std::vector<unsigned long> mask_of(std::span<const unsigned> cpus) {
  constexpr unsigned kBits = sizeof(unsigned long) * CHAR_BIT;
  const auto highest = *std::ranges::max_element(cpus);
  if (highest >= kMaximumCpus) return {};
  std::vector<unsigned long> mask(highest / kBits + 1);
  for (const auto cpu : cpus) mask[cpu / kBits] |= 1ul << (cpu % kBits);
  return mask;
}

class Attributes {
 public:
  Attributes() { pthread_attr_init(&attributes_); }
  ~Attributes() { pthread_attr_destroy(&attributes_); }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;
  pthread_attr_t* get() { return &attributes_; }

 private:
  pthread_attr_t attributes_;
};

}  // namespace

Result<Thread> Thread::start(ThreadOptions options, std::function<void()> body) {
  Attributes attributes;
  if (!options.host_cpus.empty()) {
    const auto mask = mask_of(options.host_cpus);
    if (mask.empty()) return Failure{EINVAL, "pthread_attr_setaffinity_np"};
    // SAFETY: a cpu_set_t is an array of unsigned long, of the size that is passed with it.
    const int error = pthread_attr_setaffinity_np(attributes.get(), mask.size() * sizeof(unsigned long),
                                                  reinterpret_cast<const cpu_set_t*>(mask.data()));
    if (error != 0) return Failure{error, "pthread_attr_setaffinity_np"};
  }
  auto start = std::make_unique<Start>(Start{std::move(options), std::move(body)});
  pthread_t thread{};
  const int error = pthread_create(&thread, attributes.get(), enter, start.get());
  if (error != 0) return Failure{error, "pthread_create"};
  // SAFETY: enter() owns it from now on.
  [[maybe_unused]] auto* owned = start.release();
  return Thread(thread);
}

Thread::Thread(Thread&& other) noexcept
    : thread_(other.thread_), is_joinable_(std::exchange(other.is_joinable_, false)) {}

void Thread::join() {
  if (std::exchange(is_joinable_, false)) pthread_join(thread_, nullptr);
}

Result<> Thread::set_host_cpus(std::span<const unsigned> host_cpus) const {
  if (host_cpus.empty()) return Unit{};
  const auto mask = mask_of(host_cpus);
  if (mask.empty()) return Failure{EINVAL, "pthread_setaffinity_np"};
  const int error = pthread_setaffinity_np(thread_, mask.size() * sizeof(unsigned long),
                                           reinterpret_cast<const cpu_set_t*>(mask.data()));
  if (error != 0) return Failure{error, "pthread_setaffinity_np"};
  return Unit{};
}

void Thread::send(int signal) const { pthread_kill(thread_, signal); }

}  // namespace tsvmm
