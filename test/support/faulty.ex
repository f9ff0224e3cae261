defmodule MQTT.Test.Faulty do
  @moduledoc false
  # A handler that raises where it is told to, and publishes what it is told.

  use MQTT.Server

  @impl true
  def init({test, fault}, params) do
    if fault == :init, do: raise("init")
    send(test, {:connected, self(), params.client_id})
    {:ok, {test, fault}}
  end

  @impl true
  def handle_publish("count", _message, _opts, {test, fault}) when is_integer(fault),
    do: {:ok, {test, fault + 1}}

  def handle_publish("wait", _message, _opts, {test, _} = state) do
    send(test, {:waiting, self()})
    receive do: (:go_on -> {:ok, state})
  end

  def handle_publish("burst", count, _opts, state) do
    actions = for n <- 1..String.to_integer(count), do: {:publish, "n", numbered(n)}
    {:ok, state, actions}
  end

  def handle_publish("echo", message, _opts, state), do: {:ok, state, {:publish, "echo", message}}
  def handle_publish("raise", _message, _opts, _state), do: raise("publish")
  def handle_publish("throw", _message, _opts, _state), do: throw(:thrown)
  def handle_publish("bad", _message, _opts, _state), do: :bad
  def handle_publish("wildcard", _message, _opts, state), do: {:ok, state, {:publish, "#", ""}}
  def handle_publish(_topic, _message, _opts, state), do: {:ok, state}

  @doc "A message that says its number and has some length."
  def numbered(n), do: :binary.copy(<<n::32>>, 125)

  @impl true
  def handle_subscribe("raise", _qos, _state), do: raise("subscribe")
  def handle_subscribe(_topic, qos, state), do: {:ok, qos, state}

  @impl true
  def handle_unsubscribe("raise", _state), do: raise("unsubscribe")

  @impl true
  def handle_call(:raise, _from, _state), do: raise("call")
  def handle_call(:state, from, state), do: {:ok, state, {:reply, from, state}}

  def handle_call({:act, actions}, from, state),
    do: {:ok, state, List.wrap(actions) ++ [{:reply, from, :acted}]}

  @impl true
  def handle_cast({:act, actions}, state), do: {:ok, state, actions}
  def handle_cast(:raise, _state), do: raise("cast")

  @impl true
  def handle_info(:raise, _state), do: raise("info")
  def handle_info({:publish, topic, message}, state), do: {:ok, state, {:publish, topic, message}}

  def handle_info({:publish, topic, message, to}, state) do
    send(to, {:handled, self()})
    {:ok, state, {:publish, topic, message}}
  end

  @impl true
  def terminate(reason, {test, fault}) do
    send(test, {:terminate, reason, fault})
    if fault == :terminate, do: raise("terminate")
  end

  @impl true
  def code_change(_old_vsn, _state, _extra), do: raise("code_change")
end
