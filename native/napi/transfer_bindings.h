// Guest memory on its way over connections, as JavaScript sees it.
#pragma once

#include <napi.h>

#include <memory>
#include <optional>

#include "migration/late_memory.h"
#include "migration/memory_receiver.h"
#include "migration/memory_sender.h"
#include "napi/event_queue.h"

namespace tsvmm {

class MemorySenderBinding : public Napi::ObjectWrap<MemorySenderBinding> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  explicit MemorySenderBinding(const Napi::CallbackInfo& info);
  ~MemorySenderBinding() override;
  MemorySenderBinding(const MemorySenderBinding&) = delete;
  MemorySenderBinding& operator=(const MemorySenderBinding&) = delete;

 private:
  Napi::Value send(const Napi::CallbackInfo& info);
  void answer(const Napi::CallbackInfo& info);
  Napi::Value send_rest(const Napi::CallbackInfo& info);
  Napi::Value counters(const Napi::CallbackInfo& info);
  void set_limit(const Napi::CallbackInfo& info);
  void cut(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);
  Napi::Value begin(const Napi::CallbackInfo& info, const std::function<Result<>(std::function<void(Result<>)>)>& send);
  void settle(Napi::Env env, const Result<>& sent);
  void shut_down();

  std::unique_ptr<MemorySender> sender_;
  std::shared_ptr<RestPages> rest_;
  std::unique_ptr<EventQueue> events_;
  std::optional<Napi::Promise::Deferred> sending_;
  Napi::ObjectReference self_;  // during a pass: it is not collected
};

class MemoryReceiverBinding : public Napi::ObjectWrap<MemoryReceiverBinding> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  explicit MemoryReceiverBinding(const Napi::CallbackInfo& info);
  ~MemoryReceiverBinding() override;
  MemoryReceiverBinding(const MemoryReceiverBinding&) = delete;
  MemoryReceiverBinding& operator=(const MemoryReceiverBinding&) = delete;

  // nullptr once it is closed.
  MemoryReceiver* receiver() const { return receiver_.get(); }

 private:
  bool start(Napi::Object options);
  Napi::Value counters(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);
  void call(const char* name, Napi::Value argument);
  void shut_down();

  std::unique_ptr<MemoryReceiver> receiver_;
  std::unique_ptr<EventQueue> events_;
  Napi::ObjectReference callbacks_;
  Napi::ObjectReference self_;  // while it is open: it is not collected
};

class LateMemoryBinding : public Napi::ObjectWrap<LateMemoryBinding> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  explicit LateMemoryBinding(const Napi::CallbackInfo& info);
  ~LateMemoryBinding() override;
  LateMemoryBinding(const LateMemoryBinding&) = delete;
  LateMemoryBinding& operator=(const LateMemoryBinding&) = delete;

  // nullptr once closed.
  LateMemory* late() const { return late_.get(); }

 private:
  void ask_at(const Napi::CallbackInfo& info);
  Napi::Value missing(const Napi::CallbackInfo& info);
  Napi::Value counters(const Napi::CallbackInfo& info);
  void abandon(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);

  bool start(Napi::Object options);
  void call(const char* name, std::initializer_list<napi_value> arguments);
  void shut_down();

  std::unique_ptr<LateMemory> late_;
  std::unique_ptr<EventQueue> events_;
  Napi::ObjectReference callbacks_;
  Napi::ObjectReference self_;  // while it is open: it is not collected
};

}  // namespace tsvmm
