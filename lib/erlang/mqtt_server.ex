defmodule :mqtt_server do
  @moduledoc """
  `MQTT.Server` by its name in Erlang: `-behaviour(mqtt_server)` asks for the same callbacks.
  """

  require MQTT.Server.Callbacks
  MQTT.Server.Callbacks.define()

  @doc "See `MQTT.Server.enter_loop/4`."
  @spec enter_loop(module, term, MQTT.Transport.t()) :: no_return
  defdelegate enter_loop(module, args, transport), to: MQTT.Server

  @doc "See `MQTT.Server.enter_loop/4`."
  @spec enter_loop(module, term, MQTT.Transport.t(), keyword) :: no_return
  defdelegate enter_loop(module, args, transport, options), to: MQTT.Server

  @doc "See `MQTT.Server.stop/1`."
  @spec stop(pid) :: :ok
  defdelegate stop(pid), to: MQTT.Server

  @doc "See `MQTT.Server.stop/3`."
  @spec stop(pid, term, timeout) :: :ok
  defdelegate stop(pid, reason, timeout), to: MQTT.Server
end
