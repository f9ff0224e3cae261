defmodule MQTT.Server.Options do
  @moduledoc false
  # What a connection may do, as one struct.

  alias MQTT.Options

  @session_schema [
    {:max_session_messages, {:integer, 1, :infinity}, 10_000,
     "Messages of QoS 1 and 2 to the client that may wait or be unacknowledged. Further ones are dropped and counted. Of QoS 0 as many again may wait while it is connected."},
    {:max_session_bytes, {:integer, 1, :infinity}, 4_194_304,
     "Bytes that they may have together. Once they have, further ones are dropped."},
    {:max_session_subscriptions, {:integer, 1, :infinity}, 1_000,
     "Subscriptions that a `MQTT.Session` keeps, whose filters may have 16 times as many levels together. Further ones fail."},
    {:session_overflow, {:in, [:drop_newest, :drop_oldest]}, :drop_newest,
     "What is dropped when a session is full: the message that comes, or the one that waits longest, if one does."}
  ]

  @schema [
    {:connect_timeout, :timeout, 5_000, "How long a client may take for its CONNECT."},
    {:idle_timeout, :timeout, :infinity,
     "How long a client that asked for no Keep Alive (0) may send nothing."},
    {:max_packet_size, {:integer, 64, 268_435_460}, 1_048_576,
     "Bytes that a packet of the client may have."},
    {:max_connect_size, {:integer, 64, 268_435_460}, 65_536, "Bytes that its CONNECT may have."},
    {:max_topic_levels, {:integer, 1, 65_535}, 128,
     "Levels that a topic name or filter may have."},
    {:max_topic_filters, {:integer, 1, :infinity}, 1_024,
     "Topic filters that a SUBSCRIBE or UNSUBSCRIBE may have."},
    {:max_user_properties, {:integer, 0, 65_535}, 64,
     "User properties that a packet may have (MQTT 5.0)."},
    {:receive_maximum, {:integer, 1, 65_535}, 1_024,
     "Messages of QoS 1 and 2 from the client that may be unacknowledged at a time. A client of MQTT 5.0 that sends more is disconnected, others are kept waiting."},
    {:max_inflight, {:integer, 1, 65_535}, 1_024,
     "Messages of QoS 1 and 2 to the client that may be unacknowledged at a time, if its Receive Maximum is not lower."},
    {:topic_alias_maximum, {:integer, 0, 65_535}, 16,
     "Topic aliases that the client may set (MQTT 5.0)."},
    {:max_queue_bytes, {:integer, 1, :infinity}, 1_048_576,
     "Bytes that may wait for a client that reads too slowly. Behind them messages of QoS 0 are dropped and counted."},
    {:slow_peer, {:in, [:block, :drop, :close]}, :block,
     "What happens while bytes wait: with `:block` nothing is read from the client, with `:drop` it goes on, with `:close` the client is disconnected once the queue or its session is full."},
    {:send_timeout, :timeout, 15_000,
     "How long a client may read nothing while bytes wait for it, before it is disconnected."},
    {:hibernate_after, :timeout, 15_000,
     "After how long without a message the process hibernates."},
    {:keep_socket, :boolean, true,
     "Whether a `:gen_tcp` socket given to `enter_loop/4` stays open, for `:inet.peername/1` and its like, until the connection ends."}
    | @session_schema
  ]

  @native [
    :connect_timeout,
    :idle_timeout,
    :send_timeout,
    :max_packet_size,
    :max_connect_size,
    :max_topic_levels,
    :max_topic_filters,
    :max_user_properties,
    :max_queue_bytes,
    :slow_peer,
    :receive_maximum,
    :max_inflight,
    :topic_alias_maximum,
    :max_session_messages,
    :max_session_bytes,
    :max_session_subscriptions,
    :session_overflow
  ]

  @defaults Map.new(@schema, fn {name, _type, default, _doc} -> {name, default} end)
  @default_native Map.take(@defaults, @native)

  @enforce_keys [:native, :hibernate_after, :keep_socket, :send_timeout]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          native: map,
          hibernate_after: timeout,
          keep_socket: boolean,
          send_timeout: timeout
        }

  @doc "The options of a connection that is not a listener's."
  @spec new(module, keyword) :: t
  # Without a listener this is done for each connection, most of which have no options.
  def new(module, []), do: struct(@defaults, @default_native, module)

  def new(module, options),
    do: options |> Options.validate!(@schema, "MQTT.Server") |> from_map(module)

  @doc "The struct of options that were checked against `schema/0`, maybe among others."
  @spec from_map(map, module) :: t
  def from_map(options, module), do: struct(options, Map.take(options, @native), module)

  defp struct(options, native, module) do
    authenticates = Code.ensure_loaded?(module) and function_exported?(module, :handle_auth, 3)

    %__MODULE__{
      native: Map.put(native, :enhanced_authentication, authenticates),
      hibernate_after: options.hibernate_after,
      keep_socket: options.keep_socket,
      send_timeout: options.send_timeout
    }
  end

  def schema, do: @schema
  def session_schema, do: @session_schema
end
