#include "napi/transfer_bindings.h"

#include <unistd.h>

#include <cstring>
#include <utility>

#include "napi/addon_data.h"
#include "napi/arguments.h"
#include "napi/connection_bindings.h"
#include "napi/memory_binding.h"

namespace tsvmm {

namespace {

constexpr uint64_t kLongestStallMs = 24ull * 60 * 60 * 1000;

Napi::Number number(Napi::Env env, uint64_t value) { return Napi::Number::New(env, static_cast<double>(value)); }

// What senders and receivers are made with alike.
struct Ends {
  std::shared_ptr<GuestMemory> memory;
  std::vector<UniqueFd> sockets;
  std::chrono::milliseconds stall{0};
};

std::optional<Ends> read_ends(Napi::Value value) {
  if (!value.IsObject()) {
    Napi::TypeError::New(value.Env(), "options must be an object").ThrowAsJavaScriptException();
    return {};
  }
  const auto options = value.As<Napi::Object>();
  auto sockets = take_descriptors(options.Get("sockets"), "sockets");
  if (!sockets) return {};
  auto memory = read_guest_memory(options.Get("memory"), "memory");
  if (!memory) return {};
  const auto stall = read_uint_property(options, "stallMs", 0);
  if (!stall) return {};
  if (*stall > kLongestStallMs) {
    Napi::RangeError::New(value.Env(), "stallMs is out of range").ThrowAsJavaScriptException();
    return {};
  }
  return Ends{std::move(memory), std::move(*sockets), std::chrono::milliseconds(*stall)};
}

}  // namespace

void MemorySenderBinding::define(Napi::Env env, Napi::Object exports) {
  using Self = MemorySenderBinding;
  exports.Set("MemorySender",
              DefineClass(env, "MemorySender",
                          {InstanceMethod<&Self::send>("send"), InstanceMethod<&Self::answer>("answer"),
                           InstanceMethod<&Self::send_rest>("sendRest"), InstanceMethod<&Self::counters>("counters"),
                           InstanceMethod<&Self::set_limit>("setLimit"), InstanceMethod<&Self::cut>("cut"),
                           InstanceMethod<&Self::close>("close")}));
}

MemorySenderBinding::MemorySenderBinding(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  const auto env = info.Env();
  auto ends = read_ends(info[0]);
  if (!ends) return;
  const auto object = info[0].As<Napi::Object>();
  const auto delta_bytes = read_uint_property(object, "deltaBytes", 0);
  if (!delta_bytes) return;
  const auto bytes_per_second = read_uint_property(object, "bytesPerSecond", 0);
  if (!bytes_per_second) return;
  auto created = MemorySender::create({.memory = ends->memory->map(),
                                       .sockets = std::move(ends->sockets),
                                       .stall = ends->stall,
                                       .delta_bytes = *delta_bytes,
                                       .bytes_per_second = *bytes_per_second});
  if (!created) {
    throw_failure(env, created.failure());
    return;
  }
  sender_ = std::move(created).value();
  events_ = std::make_unique<EventQueue>(env, "tsvmm memory sender", [this] { shut_down(); });
}

MemorySenderBinding::~MemorySenderBinding() { shut_down(); }

Napi::Value MemorySenderBinding::send(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!sender_) return throw_closed(env, "MemorySender"), env.Undefined();
  const auto name = read_string(info[0], "pass");
  if (!name) return env.Undefined();
  if (*name != "first" && *name != "again") {
    Napi::RangeError::New(env, "pass must be first or again").ThrowAsJavaScriptException();
    return env.Undefined();
  }
  const auto pages = read_page_bitmap(info[1], "pages", sender_->pages());
  if (!pages) return env.Undefined();
  const auto pass = *name == "first" ? MemorySender::Pass::kFirst : MemorySender::Pass::kAgain;
  return begin(info, [&](auto on_end) { return sender_->send(pass, *pages, std::move(on_end)); });
}

void MemorySenderBinding::answer(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  const auto fd = read_uint(info[0], "fd", INT32_MAX);
  if (!fd) return;
  UniqueFd socket(static_cast<int>(*fd));
  if (!sender_) return throw_closed(env, "MemorySender");
  const auto stall = read_uint(info[1], "stallMs", kLongestStallMs);
  if (!stall) return;
  auto pages = read_page_bitmap(info[2], "pages", sender_->pages());
  if (!pages) return;
  auto rest = std::make_shared<RestPages>(std::move(*pages));
  const auto begun = sender_->answer(std::move(socket), std::chrono::milliseconds(*stall), rest);
  if (!begun) return throw_failure(env, begun.failure());
  rest_ = std::move(rest);
}

Napi::Value MemorySenderBinding::send_rest(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!sender_) return throw_closed(env, "MemorySender"), env.Undefined();
  if (!rest_) return throw_failure(env, {EINVAL, "send the rest of memory"}), env.Undefined();
  return begin(info, [&](auto on_end) { return sender_->send_rest(rest_, std::move(on_end)); });
}

Napi::Value MemorySenderBinding::begin(const Napi::CallbackInfo& info,
                                       const std::function<Result<>(std::function<void(Result<>)>)>& send) {
  const auto env = info.Env();
  // The last one has ended in its thread, but its promise is not settled yet.
  auto begun = sending_
                   ? Result<>(Failure{EBUSY, "send memory"})
                   : send([this](Result<> sent) { events_->push([this, sent](Napi::Env now) { settle(now, sent); }); });
  if (!begun) return throw_failure(env, begun.failure()), env.Undefined();
  sending_ = Napi::Promise::Deferred::New(env);
  self_ = Napi::Persistent(info.This().As<Napi::Object>());
  events_->keep_alive(true);
  return sending_->Promise();
}

void MemorySenderBinding::settle(Napi::Env env, const Result<>& sent) {
  const auto deferred = *std::exchange(sending_, {});
  events_->keep_alive(false);
  if (sent) {
    deferred.Resolve(env.Undefined());
  } else {
    deferred.Reject(make_failure(env, sent.failure()).Value());
  }
  self_.Reset();
}

Napi::Value MemorySenderBinding::counters(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!sender_) return throw_closed(env, "MemorySender"), env.Undefined();
  const auto& counters = sender_->counters();
  auto object = Napi::Object::New(env);
  object.Set("pagesDone", number(env, counters.pages_done));
  object.Set("pagesTotal", number(env, counters.pages_total));
  object.Set("zeroPages", number(env, counters.zero));
  object.Set("samePages", number(env, counters.same));
  object.Set("deltaPages", number(env, counters.delta));
  object.Set("wholePages", number(env, counters.whole));
  object.Set("bytesSent", number(env, sender_->bytes_sent()));
  return object;
}

void MemorySenderBinding::set_limit(const Napi::CallbackInfo& info) {
  if (!sender_) return throw_closed(info.Env(), "MemorySender");
  if (const auto rate = read_uint(info[0], "bytesPerSecond")) sender_->set_limit(*rate);
}

void MemorySenderBinding::cut(const Napi::CallbackInfo&) {
  if (sender_) sender_->cut();
}

void MemorySenderBinding::close(const Napi::CallbackInfo& info) {
  // Threads first: afterwards nobody pushes.
  sender_.reset();
  if (sending_) settle(info.Env(), Failure{ECANCELED, "send memory"});
  shut_down();
}

void MemorySenderBinding::shut_down() {
  sender_.reset();
  if (events_) events_->close();
  self_.Reset();
}

void MemoryReceiverBinding::define(Napi::Env env, Napi::Object exports) {
  using Self = MemoryReceiverBinding;
  const auto constructor = DefineClass(
      env, "MemoryReceiver", {InstanceMethod<&Self::counters>("counters"), InstanceMethod<&Self::close>("close")});
  addon_data(env).memory_receiver = Napi::Persistent(constructor);
  exports.Set("MemoryReceiver", constructor);
}

MemoryReceiverBinding::MemoryReceiverBinding(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  const auto env = info.Env();
  events_ = std::make_unique<EventQueue>(env, "tsvmm memory receiver", [this] { shut_down(); });
  if (!start(info[0].IsObject() ? info[0].As<Napi::Object>() : Napi::Object::New(env))) {
    events_->close();
    return;
  }
  callbacks_ = Napi::Persistent(info[0].As<Napi::Object>());
  self_ = Napi::Persistent(info.This().As<Napi::Object>());
  events_->keep_alive(true);
}

MemoryReceiverBinding::~MemoryReceiverBinding() { shut_down(); }

bool MemoryReceiverBinding::start(Napi::Object options) {
  const auto env = options.Env();
  auto ends = read_ends(options);
  if (!ends) return false;
  if (!options.Get("onPass").IsFunction() || !options.Get("onFailure").IsFunction()) {
    Napi::TypeError::New(env, "onPass and onFailure must be functions").ThrowAsJavaScriptException();
    return false;
  }
  MemoryReceiver::Options options_of{
      .memory = ends->memory->map(), .sockets = std::move(ends->sockets), .stall = ends->stall};
  options_of.on_pass = [this](uint64_t pass) {
    events_->push([this, pass](Napi::Env now) { call("onPass", number(now, pass)); });
  };
  options_of.on_failure = [this](const Failure& failure) {
    events_->push([this, failure](Napi::Env now) { call("onFailure", make_failure(now, failure).Value()); });
  };
  if (const Napi::Value late = options.Get("late"); !late.IsUndefined()) {
    const auto* binding = unwrap<LateMemoryBinding>(late, addon_data(env).late_memory, "late");
    if (binding == nullptr) return false;
    if (binding->late() == nullptr) return throw_closed(env, "late"), false;
    options_of.late = binding->late()->reception();
  }
  auto started = MemoryReceiver::start(std::move(options_of));
  if (!started) return throw_failure(env, started.failure()), false;
  receiver_ = std::move(started).value();
  return true;
}

void MemoryReceiverBinding::call(const char* name, Napi::Value argument) {
  const auto target = callbacks_.Value();
  target.Get(name).As<Napi::Function>().Call(target, {argument});
}

Napi::Value MemoryReceiverBinding::counters(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!receiver_) return throw_closed(env, "MemoryReceiver"), env.Undefined();
  auto object = Napi::Object::New(env);
  object.Set("bytesReceived", number(env, receiver_->bytes_received()));
  object.Set("pagesReceived", number(env, receiver_->pages_received()));
  return object;
}

void MemoryReceiverBinding::close(const Napi::CallbackInfo&) { shut_down(); }

void MemoryReceiverBinding::shut_down() {
  receiver_.reset();
  if (events_) events_->close();
  callbacks_.Reset();
  self_.Reset();
}

void LateMemoryBinding::define(Napi::Env env, Napi::Object exports) {
  using Self = LateMemoryBinding;
  const auto constructor =
      DefineClass(env, "LateMemory",
                  {InstanceMethod<&Self::ask_at>("askAt"), InstanceMethod<&Self::missing>("missing"),
                   InstanceMethod<&Self::counters>("counters"), InstanceMethod<&Self::abandon>("abandon"),
                   InstanceMethod<&Self::close>("close")});
  addon_data(env).late_memory = Napi::Persistent(constructor);
  exports.Set("LateMemory", constructor);
}

LateMemoryBinding::LateMemoryBinding(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  const auto env = info.Env();
  events_ = std::make_unique<EventQueue>(env, "tsvmm late memory", [this] { shut_down(); });
  if (!start(info[0].IsObject() ? info[0].As<Napi::Object>() : Napi::Object::New(env))) {
    events_->close();
    return;
  }
  callbacks_ = Napi::Persistent(info[0].As<Napi::Object>());
  self_ = Napi::Persistent(info.This().As<Napi::Object>());
}

LateMemoryBinding::~LateMemoryBinding() { shut_down(); }

bool LateMemoryBinding::start(Napi::Object options) {
  const auto env = options.Env();
  auto memory = read_guest_memory(options.Get("memory"), "memory");
  if (!memory) return false;
  if (!options.Get("onComplete").IsFunction() || !options.Get("onFailure").IsFunction()) {
    Napi::TypeError::New(env, "onComplete and onFailure must be functions").ThrowAsJavaScriptException();
    return false;
  }
  auto missing = read_page_bitmap(options.Get("missing"), "missing", ImageSpace(memory->map()).pages());
  if (!missing) return false;
  MemoryReceiver* receiver = nullptr;
  if (const Napi::Value value = options.Get("receiver"); !value.IsUndefined()) {
    const auto* binding = unwrap<MemoryReceiverBinding>(value, addon_data(env).memory_receiver, "receiver");
    if (binding == nullptr) return false;
    receiver = binding->receiver();
    if (receiver == nullptr) return throw_closed(env, "receiver"), false;
  }
  auto started =
      LateMemory::start({.memory = memory->map(),
                         .missing = std::move(*missing),
                         .receiver = receiver,
                         .on_complete = [this] { events_->push([this](Napi::Env) { call("onComplete", {}); }); },
                         .owner_thread = gettid()});
  if (!started) return throw_failure(env, started.failure()), false;
  late_ = std::move(started).value();
  return true;
}

void LateMemoryBinding::call(const char* name, std::initializer_list<napi_value> arguments) {
  const auto target = callbacks_.Value();
  target.Get(name).As<Napi::Function>().Call(target, arguments);
}

void LateMemoryBinding::ask_at(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  const auto fd = read_uint(info[0], "fd", INT32_MAX);
  if (!fd) return;
  UniqueFd socket(static_cast<int>(*fd));
  if (!late_) return throw_closed(env, "LateMemory");
  const auto stall = read_uint(info[1], "stallMs", kLongestStallMs);
  if (!stall) return;
  const auto begun =
      late_->ask_at(std::move(socket), std::chrono::milliseconds(*stall), [this](const Failure& failure) {
        events_->push([this, failure](Napi::Env now) { call("onFailure", {make_failure(now, failure).Value()}); });
      });
  if (!begun) throw_failure(env, begun.failure());
}

Napi::Value LateMemoryBinding::missing(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!late_) return throw_closed(env, "LateMemory"), env.Undefined();
  const auto missing = late_->missing();
  const auto words = missing.words();
  auto array = Napi::Uint8Array::New(env, words.size_bytes());
  std::memcpy(array.Data(), words.data(), words.size_bytes());
  return array;
}

Napi::Value LateMemoryBinding::counters(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!late_) return throw_closed(env, "LateMemory"), env.Undefined();
  auto object = Napi::Object::New(env);
  object.Set("pagesMissing", number(env, late_->missing_pages()));
  object.Set("faults", number(env, late_->faults()));
  return object;
}

void LateMemoryBinding::abandon(const Napi::CallbackInfo&) {
  if (late_) late_->abandon();
}

void LateMemoryBinding::close(const Napi::CallbackInfo&) { shut_down(); }

void LateMemoryBinding::shut_down() {
  // Threads first: afterwards nobody pushes.
  late_.reset();
  if (events_) events_->close();
  callbacks_.Reset();
  self_.Reset();
}

}  // namespace tsvmm
