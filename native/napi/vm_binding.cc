#include "napi/vm_binding.h"

#include <cstring>

#include "napi/addon_data.h"
#include "napi/arguments.h"
#include "napi/event_fd_binding.h"
#include "napi/memory_binding.h"
#include "napi/vcpu_binding.h"
#include "napi/window_binding.h"

namespace tsvmm {

namespace {

void check(Napi::Env env, const Result<>& result) {
  if (!result) throw_failure(env, result.failure());
}

std::optional<Napi::Object> read_object(Napi::Value value, const char* name) {
  if (value.IsObject()) return value.As<Napi::Object>();
  Napi::TypeError::New(value.Env(), std::string(name) + " must be an object").ThrowAsJavaScriptException();
  return {};
}

std::optional<MemorySlot> read_memory_slot(Napi::Object object) {
  const auto slot = read_uint_property(object, "slot", {});
  if (!slot) return {};
  const auto address = read_uint_property(object, "guestAddress", {});
  if (!address) return {};
  const auto offset = read_uint_property(object, "mappingOffset", {});
  if (!offset) return {};
  const auto size = read_uint_property(object, "sizeBytes", {});
  if (!size) return {};
  return MemorySlot{static_cast<uint32_t>(*slot), *address, *offset, *size,
                    read_flag_property(object, "readOnly", false)};
}

std::optional<MsiRoute> read_route(Napi::Value value) {
  const auto object = read_object(value, "route");
  if (!object) return {};
  MsiRoute route{};
  const auto read_field = [&](const char* name, uint32_t& field) {
    const auto number = read_uint(object->Get(name), name, UINT32_MAX);
    if (number) field = static_cast<uint32_t>(*number);
    return number.has_value();
  };
  if (!read_field("gsi", route.gsi) || !read_field("addressLow", route.address_low) ||
      !read_field("addressHigh", route.address_high) || !read_field("data", route.data)) {
    return {};
  }
  return route;
}

std::optional<Doorbell> read_doorbell(Napi::Value value, std::shared_ptr<const EventFd>& event_fd) {
  const auto object = read_object(value, "doorbell");
  if (!object) return {};
  event_fd = read_event_fd(object->Get("eventFd"), "eventFd");
  if (!event_fd) return {};
  const auto space = read_string(object->Get("space"), "space");
  if (!space) return {};
  const auto address = read_uint_property(*object, "address", {});
  if (!address) return {};
  const auto width = read_uint_property(*object, "widthBytes", {});
  if (!width) return {};
  const auto match = read_uint_property(*object, "match", 0);
  if (!match) return {};
  return Doorbell{
      event_fd->get(), *space == "pio", *address, static_cast<uint32_t>(*width), !object->Get("match").IsUndefined(),
      *match};
}

}  // namespace

void VmBinding::define(Napi::Env env) {
  using Self = VmBinding;
  auto constructor = DefineClass(env, "Vm",
                                 {InstanceMethod<&Self::enable_capability>("enableCapability"),
                                  InstanceMethod<&Self::check_extension>("checkExtension"),
                                  InstanceMethod<&Self::set_tss_address>("setTssAddress"),
                                  InstanceMethod<&Self::set_identity_map_address>("setIdentityMapAddress"),
                                  InstanceMethod<&Self::set_memory_slot>("setMemorySlot"),
                                  InstanceMethod<&Self::remove_memory_slot>("removeMemorySlot"),
                                  InstanceMethod<&Self::start_dirty_tracking>("startDirtyTracking"),
                                  InstanceMethod<&Self::take_dirty_pages>("takeDirtyPages"),
                                  InstanceMethod<&Self::stop_dirty_tracking>("stopDirtyTracking"),
                                  InstanceAccessor<&Self::is_tracking_dirty_pages>("isTrackingDirtyPages"),
                                  InstanceMethod<&Self::set_gsi_routes>("setGsiRoutes"),
                                  InstanceMethod<&Self::signal_msi>("signalMsi"),
                                  InstanceMethod<&Self::attach_irqfd>("attachIrqfd"),
                                  InstanceMethod<&Self::detach_irqfd>("detachIrqfd"),
                                  InstanceMethod<&Self::attach_doorbell>("attachDoorbell"),
                                  InstanceMethod<&Self::detach_doorbell>("detachDoorbell"),
                                  InstanceMethod<&Self::clock>("clock"),
                                  InstanceMethod<&Self::set_clock>("setClock"),
                                  InstanceMethod<&Self::set_trap_handlers>("setTrapHandlers"),
                                  InstanceMethod<&Self::map_window>("mapWindow"),
                                  InstanceMethod<&Self::create_vcpu>("createVcpu"),
                                  InstanceMethod<&Self::exit_counters>("exitCounters"),
                                  InstanceMethod<&Self::close>("close")});
  addon_data(env).vm = Napi::Persistent(constructor);
}

Napi::Value VmBinding::make(Napi::Env env, std::shared_ptr<VmHost> host) {
  auto object = addon_data(env).vm.New({});
  if (env.IsExceptionPending()) return env.Undefined();
  Unwrap(object)->host_ = std::move(host);
  return object;
}

VmBinding::VmBinding(const Napi::CallbackInfo& info) : ObjectWrap(info) {}

bool VmBinding::is_open(Napi::Env env) const {
  const bool open = host_ && !host_->is_closed();
  if (!open) throw_closed(env, "Vm");
  return open;
}

void VmBinding::enable_capability(const Napi::CallbackInfo& info) {
  if (!is_open(info.Env())) return;
  const auto capability = read_uint(info[0], "capability", UINT32_MAX);
  if (!capability) return;
  std::vector<uint64_t> arguments;
  if (info[1].IsArray()) {
    const auto array = info[1].As<Napi::Array>();
    for (uint32_t index = 0; index < array.Length(); ++index) {
      const auto argument = read_uint(array.Get(index), "argument");
      if (!argument) return;
      arguments.push_back(*argument);
    }
  }
  check(info.Env(), host_->vm().enable_capability(static_cast<uint32_t>(*capability), arguments));
}

Napi::Value VmBinding::check_extension(const Napi::CallbackInfo& info) {
  if (!is_open(info.Env())) return info.Env().Undefined();
  const auto capability = read_uint(info[0], "capability", UINT32_MAX);
  if (!capability) return info.Env().Undefined();
  return Napi::Number::New(info.Env(), host_->vm().check_extension(*capability));
}

void VmBinding::set_tss_address(const Napi::CallbackInfo& info) {
  if (!is_open(info.Env())) return;
  if (const auto address = read_uint(info[0], "address")) check(info.Env(), host_->vm().set_tss_address(*address));
}

void VmBinding::set_identity_map_address(const Napi::CallbackInfo& info) {
  if (!is_open(info.Env())) return;
  if (const auto address = read_uint(info[0], "address")) {
    check(info.Env(), host_->vm().set_identity_map_address(*address));
  }
}

void VmBinding::set_memory_slot(const Napi::CallbackInfo& info) {
  if (!is_open(info.Env())) return;
  const auto object = read_object(info[0], "slot");
  if (!object) return;
  const auto slot = read_memory_slot(*object);
  if (!slot) return;
  auto mapping = read_mapping(object->Get("mapping"), "mapping");
  if (mapping) check(info.Env(), host_->vm().set_memory_slot(*slot, std::move(mapping)));
}

void VmBinding::remove_memory_slot(const Napi::CallbackInfo& info) {
  if (!is_open(info.Env())) return;
  if (const auto slot = read_uint(info[0], "slot", UINT32_MAX)) {
    check(info.Env(), host_->vm().remove_memory_slot(static_cast<uint32_t>(*slot)));
  }
}

void VmBinding::start_dirty_tracking(const Napi::CallbackInfo& info) {
  if (!is_open(info.Env())) return;
  auto memory = read_guest_memory(info[0], "memory");
  if (memory) check(info.Env(), host_->vm().start_dirty_tracking(std::move(memory)));
}

Napi::Value VmBinding::take_dirty_pages(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!is_open(env)) return env.Undefined();
  const auto taken = host_->vm().take_dirty();
  if (!taken) return throw_failure(env, taken.failure()), env.Undefined();
  const auto words = taken.value().words();
  return copy_bytes(env, {reinterpret_cast<const uint8_t*>(words.data()), words.size_bytes()});
}

void VmBinding::stop_dirty_tracking(const Napi::CallbackInfo& info) {
  if (is_open(info.Env())) check(info.Env(), host_->vm().stop_dirty_tracking());
}

Napi::Value VmBinding::is_tracking_dirty_pages(const Napi::CallbackInfo& info) {
  if (!is_open(info.Env())) return info.Env().Undefined();
  return Napi::Boolean::New(info.Env(), host_->vm().is_tracking_dirty());
}

void VmBinding::set_gsi_routes(const Napi::CallbackInfo& info) {
  if (!is_open(info.Env())) return;
  if (!info[0].IsArray()) {
    Napi::TypeError::New(info.Env(), "routes must be an array").ThrowAsJavaScriptException();
    return;
  }
  const auto array = info[0].As<Napi::Array>();
  std::vector<MsiRoute> routes;
  routes.reserve(array.Length());
  for (uint32_t index = 0; index < array.Length(); ++index) {
    const auto route = read_route(array.Get(index));
    if (!route) return;
    routes.push_back(*route);
  }
  check(info.Env(), host_->vm().set_gsi_routes(routes));
}

void VmBinding::signal_msi(const Napi::CallbackInfo& info) {
  if (!is_open(info.Env())) return;
  const auto low = read_uint(info[0], "addressLow", UINT32_MAX);
  if (!low) return;
  const auto high = read_uint(info[1], "addressHigh", UINT32_MAX);
  if (!high) return;
  const auto data = read_uint(info[2], "data", UINT32_MAX);
  if (!data) return;
  check(info.Env(), host_->vm().signal_msi(static_cast<uint32_t>(*low), static_cast<uint32_t>(*high),
                                           static_cast<uint32_t>(*data)));
}

void VmBinding::attach_irqfd(const Napi::CallbackInfo& info) { set_irqfd(info, true); }

void VmBinding::detach_irqfd(const Napi::CallbackInfo& info) { set_irqfd(info, false); }

void VmBinding::set_irqfd(const Napi::CallbackInfo& info, bool attached) {
  if (!is_open(info.Env())) return;
  const auto gsi = read_uint(info[0], "gsi", UINT32_MAX);
  if (!gsi) return;
  const auto event_fd = read_event_fd(info[1], "eventFd");
  if (event_fd) check(info.Env(), host_->vm().set_irqfd(static_cast<uint32_t>(*gsi), event_fd->get(), attached));
}

void VmBinding::attach_doorbell(const Napi::CallbackInfo& info) { set_doorbell(info, true); }

void VmBinding::detach_doorbell(const Napi::CallbackInfo& info) { set_doorbell(info, false); }

void VmBinding::set_doorbell(const Napi::CallbackInfo& info, bool attached) {
  if (!is_open(info.Env())) return;
  std::shared_ptr<const EventFd> event_fd;
  const auto doorbell = read_doorbell(info[0], event_fd);
  if (doorbell) check(info.Env(), host_->vm().set_doorbell(*doorbell, attached));
}

Napi::Value VmBinding::clock(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!is_open(env)) return env.Undefined();
  const auto clock = host_->vm().clock();
  if (!clock) return throw_failure(env, clock.failure()), env.Undefined();
  return copy_bytes(env, {reinterpret_cast<const uint8_t*>(&clock.value()), sizeof(kvm_clock_data)});
}

void VmBinding::set_clock(const Napi::CallbackInfo& info) {
  if (!is_open(info.Env())) return;
  const auto bytes = read_bytes(info[0], "data");
  if (!bytes) return;
  kvm_clock_data clock{};
  if (bytes->size() != sizeof(clock)) return throw_failure(info.Env(), {EINVAL, "KVM_SET_CLOCK"});
  std::memcpy(&clock, bytes->data(), sizeof(clock));
  check(info.Env(), host_->vm().set_clock(clock));
}

void VmBinding::set_trap_handlers(const Napi::CallbackInfo& info) {
  if (!is_open(info.Env())) return;
  const auto handlers = read_object(info[0], "handlers");
  if (!handlers) return;
  bool complete = info[1].IsFunction();
  for (const auto* name : {"read", "write", "endOfInterrupt", "stopped"}) {
    complete = complete && handlers->Get(name).IsFunction();
  }
  if (!complete) {
    Napi::TypeError::New(info.Env(), "every handler must be a function").ThrowAsJavaScriptException();
    return;
  }
  if (host_->has_handlers()) {
    Napi::Error::New(info.Env(), "there are trap handlers already").ThrowAsJavaScriptException();
    return;
  }
  host_->set_handlers(*handlers, info[1].As<Napi::Function>());
}

Napi::Value VmBinding::map_window(const Napi::CallbackInfo& info) {
  if (!is_open(info.Env())) return info.Env().Undefined();
  return WindowBinding::make(info, host_);
}

Napi::Value VmBinding::create_vcpu(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!is_open(env)) return env.Undefined();
  const auto id = read_uint(info[0], "id", UINT32_MAX);
  if (!id) return env.Undefined();
  const auto index = host_->create_vcpu(static_cast<uint32_t>(*id));
  if (!index) return throw_failure(env, index.failure()), env.Undefined();
  return VcpuBinding::make(env, host_, index.value());
}

Napi::Value VmBinding::exit_counters(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!is_open(env)) return env.Undefined();
  uint64_t bytes = 0, clock = 0, posted = 0, ignored = 0, trapped = 0, unmapped = 0, waits = 0;
  for (const auto& entry : host_->vcpus()) {
    const auto& counters = entry->port.counters();
    bytes += counters.bytes.load(std::memory_order_relaxed);
    clock += counters.clock.load(std::memory_order_relaxed);
    posted += counters.posted.load(std::memory_order_relaxed);
    ignored += counters.ignored.load(std::memory_order_relaxed);
    trapped += counters.trapped.load(std::memory_order_relaxed);
    unmapped += counters.unmapped.load(std::memory_order_relaxed);
    waits += entry->port.waits();
  }
  auto object = Napi::Object::New(env);
  const auto set = [&](const char* name, uint64_t value) {
    object.Set(name, Napi::Number::New(env, static_cast<double>(value)));
  };
  set("bytes", bytes);
  set("clock", clock);
  set("posted", posted);
  set("ignored", ignored);
  set("trapped", trapped);
  set("unmapped", unmapped);
  set("trapWaits", waits);
  set("wakeups", host_->channel().wakeups());
  return object;
}

void VmBinding::close(const Napi::CallbackInfo&) {
  if (host_) host_->close();
}

}  // namespace tsvmm
