defmodule MQTT.Server.Options do
  @moduledoc false
  # What a connection may do, as one struct.

  alias MQTT.Options

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
    {:max_queue_bytes, {:integer, 1, :infinity}, 1_048_576,
     "Bytes that may wait for a client that reads too slowly. Behind them messages of QoS 0 are dropped and counted."},
    {:slow_peer, {:in, [:block, :drop, :close]}, :block,
     "What happens while bytes wait: with `:block` nothing is read from the client, with `:drop` it goes on, with `:close` the client is disconnected once the queue is full."},
    {:send_timeout, :timeout, 15_000,
     "How long a client may read nothing while bytes wait for it, before it is disconnected."},
    {:hibernate_after, :timeout, 15_000,
     "After how long without a message the process hibernates."},
    {:keep_socket, :boolean, true,
     "Whether a `:gen_tcp` socket given to `enter_loop/4` stays open, for `:inet.peername/1` and its like, until the connection ends."}
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
    :slow_peer
  ]

  @enforce_keys [:native, :hibernate_after, :keep_socket, :send_timeout]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          native: map,
          hibernate_after: timeout,
          keep_socket: boolean,
          send_timeout: timeout
        }

  @doc "The options of a connection that is not a listener's."
  @spec new(keyword) :: t
  def new(options), do: options |> Options.validate!(@schema, "MQTT.Server") |> from_map()

  @doc "The struct of options that were checked against `schema/0`, maybe among others."
  @spec from_map(map) :: t
  def from_map(options) do
    %__MODULE__{
      native: Map.take(options, @native),
      hibernate_after: options.hibernate_after,
      keep_socket: options.keep_socket,
      send_timeout: options.send_timeout
    }
  end

  def schema, do: @schema
end
