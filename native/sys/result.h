// A value or what went wrong. Nothing below napi/ throws.
#pragma once

#include <cerrno>
#include <utility>
#include <variant>

namespace tsvmm {

// `operation` is a string literal: a system call ("open") or ioctl ("KVM_RUN").
struct Failure {
  int error;
  const char* operation;
};

// Made right after a failed call, while errno is still its own.
inline Failure last_failure(const char* operation) { return {errno, operation}; }

struct Unit {};

template <typename T = Unit, typename E = Failure>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}      // NOLINT(google-explicit-constructor)
  Result(E failure) : state_(std::move(failure)) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return std::holds_alternative<T>(state_); }
  explicit operator bool() const { return ok(); }
  T& value() & { return std::get<T>(state_); }
  const T& value() const& { return std::get<T>(state_); }
  T&& value() && { return std::get<T>(std::move(state_)); }
  const E& failure() const { return std::get<E>(state_); }

 private:
  std::variant<T, E> state_;
};

}  // namespace tsvmm
