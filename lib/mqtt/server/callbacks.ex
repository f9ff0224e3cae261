defmodule MQTT.Server.Callbacks do
  @moduledoc false
  # The callbacks, which the behaviour has under both of its names.

  defmacro define do
    quote do
      @doc """
      Decides about a client.

      `args` is what `enter_loop/3` or the listener's `:handler` was given. `{:ok, state}` accepts the
      client [MQTT-3.1.4-4]; `{:stop, reason}` rejects it with the return code of the reason and ends
      the process normally, without `c:terminate/2`.

      Two things are the handler's: a client identifier may be empty, and a handler that keeps anything
      by it has to choose one itself [MQTT-3.1.3-6]; and a client that connects a second time has to
      be disconnected where it was [MQTT-3.1.4-2].
      """
      @callback init(args :: any, params :: MQTT.Server.init_parameters()) ::
                  {:ok, state}
                  | {:ok, state, MQTT.Server.action() | [MQTT.Server.action()]}
                  | {:stop, reason :: MQTT.Server.init_stop_reason() | term}
                when state: any

      @doc """
      A message from the client. `opts` has `:qos`, `:retain` and `:dup`.

      Messages longer than 64 bytes are parts of what was read at once; `:binary.copy/1` one that is
      kept for long.
      """
      @callback handle_publish(topic :: String.t(), message :: binary, opts :: map, state) ::
                  {:ok, state}
                  | {:ok, state, MQTT.Server.action() | [MQTT.Server.action()]}
                  | {:stop, reason :: term}
                when state: any

      @doc """
      The client wants messages whose topic matches the filter, with at most this QoS. Returns the QoS
      that is granted, or `:failed`; SUBACK says it [MQTT-3.8.4-5]. More than the client asked for is
      not granted.
      """
      @callback handle_subscribe(topic :: String.t(), qos :: :mqtt_packet.qos(), state) ::
                  {:ok, :mqtt_packet.qos() | :failed, state}
                  | {:ok, :mqtt_packet.qos() | :failed, state,
                     MQTT.Server.action() | [MQTT.Server.action()]}
                  | {:stop, reason :: term}
                when state: any

      @doc "The client ends its subscription to the filter; UNSUBACK follows [MQTT-3.10.4-4]."
      @callback handle_unsubscribe(topic :: String.t(), state) ::
                  {:ok, state}
                  | {:ok, state, MQTT.Server.action() | [MQTT.Server.action()]}
                  | {:stop, reason :: term}
                when state: any

      @doc "A `GenServer.call/3` to the process, to be answered with `{:reply, from, reply}`."
      @callback handle_call(call :: any, from :: GenServer.from(), state) ::
                  {:ok, state}
                  | {:ok, state, MQTT.Server.action() | [MQTT.Server.action()]}
                  | {:stop, reason :: term}
                when state: any

      @doc "A `GenServer.cast/2` to the process."
      @callback handle_cast(cast :: any, state) ::
                  {:ok, state}
                  | {:ok, state, MQTT.Server.action() | [MQTT.Server.action()]}
                  | {:stop, reason :: term}
                when state: any

      @doc "Any other message to the process."
      @callback handle_info(info :: any, state) ::
                  {:ok, state}
                  | {:ok, state, MQTT.Server.action() | [MQTT.Server.action()]}
                  | {:stop, reason :: term}
                when state: any

      @doc "The connection has ended. What is returned is ignored."
      @callback terminate(reason :: :normal | :shutdown | {:shutdown, term} | term, state) :: any
                when state: any

      @doc "Another version of the module runs from now on, see `c::gen_server.code_change/3`."
      @callback code_change(old_vsn, state :: any, extra :: term) ::
                  {:ok, new_state :: any}
                  | {:error, reason :: term}
                when old_vsn: term | {:down, term}
    end
  end
end
